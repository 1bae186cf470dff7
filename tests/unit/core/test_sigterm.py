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

BEGIN = """
import os, signal, threading, time
from edgemm.sigterm import ended_by_sigterm

def in_the_read():
    while open(f"/proc/self/task/{os.getpid()}/stat").read().rpartition(") ")[2][0] != "S":
        time.sleep(0.01)
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


@pytest.mark.parametrize(
    "signals",
    [
        "os.kill(os.getpid(), signal.SIGTERM)",
        # The main thread does not wake from its read: as when the signal came just before it.
        "signal.pthread_kill(threading.get_ident(), signal.SIGTERM)",
        "signal.pthread_kill(threading.get_ident(), signal.SIGHUP); time.sleep(0.1); os.kill(os.getpid(), 15)",
    ],
)
def test_it_ends_the_wait(signals: str) -> None:
    program = f"""{BEGIN}
met = []
signal.signal(signal.SIGHUP, lambda *_: met.append("hangup"))
with ended_by_sigterm() as wait:
    def send():
        in_the_read()
        {signals}
    threading.Thread(target=send).start()
    wait()
print(*met, "ended")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == (["hangup", "ended"] if "HUP" in signals else ["ended"])


def test_one_that_came_before_is_not_lost_however_many_others_did() -> None:
    program = f"""{BEGIN}
signal.signal(signal.SIGHUP, lambda *_: None)
with ended_by_sigterm() as wait:
    for _ in range(70_000):
        signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGTERM)
    wait()
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
