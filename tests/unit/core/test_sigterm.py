"""SIGTERM ends a wait, whenever it comes, and what handled it before handles it again afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from edgemm.sigterm import ended_by_sigterm

WAITING = """
import sys
from edgemm.sigterm import ended_by_sigterm

with ended_by_sigterm() as wait:
    print("ready", flush=True)
    wait()
print("ended in order", flush=True)
"""


def test_a_signal_that_came_before_the_wait_ends_it_at_once() -> None:
    with ended_by_sigterm() as wait:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        wait()


def test_the_handler_of_before_is_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError), ended_by_sigterm():
        assert signal.getsignal(signal.SIGTERM) is not before
        raise RuntimeError
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, -signal.SIGINT)])
def test_a_process_that_waits_ends(number: int, status: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITING], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert (process.stdout.read(), process.wait(60)) == (b"ended in order\n" if status == 0 else b"", status)
