"""What is said over `NOTIFY_SOCKET` arrives, and what cannot be said harms nobody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgemm_runtime.service.notify import Notifier, Word
from simulators.service_manager import ServiceManager


@pytest.mark.parametrize("abstract", [False, True])
def test_what_is_told_arrives_as_sd_notify_spells_it(tmp_path: Path, *, abstract: bool) -> None:
    with ServiceManager(tmp_path, abstract=abstract) as manager:
        notifier = Notifier.from_environment(manager.environment())
        assert notifier.tell(Word.READY, Word.WATCHDOG, status="serving\ntiny  1.0.0")
        assert manager.listen() == ["READY=1", "WATCHDOG=1", "STATUS=serving tiny 1.0.0"]


@pytest.mark.parametrize("address", [None, "/nowhere/at/all", "@nobody-listens-here"])
def test_a_manager_that_does_not_listen_is_no_error(address: str | None) -> None:
    assert not Notifier(address).tell(Word.READY)


def test_a_manager_that_does_not_keep_up_is_not_waited_for(tmp_path: Path) -> None:
    with ServiceManager(tmp_path) as manager:
        notifier = Notifier.from_environment(manager.environment())
        taken = [notifier.tell(Word.WATCHDOG) for _ in range(20_000)]
        assert taken[0]
        assert not taken[-1]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Notifier()),
        ({"WATCHDOG_USEC": "60000000"}, Notifier()),
        ({"NOTIFY_SOCKET": "vsock:2:1234"}, Notifier()),
        ({"NOTIFY_SOCKET": "/run/x"}, Notifier("/run/x")),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "60000000"}, Notifier("@x", 60.0)),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, Notifier("@x", 60.0)),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, Notifier("@x")),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "0"}, Notifier("@x")),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "soon"}, Notifier("@x")),
    ],
)
def test_what_the_environment_says(environment: dict[str, str], expected: Notifier) -> None:
    assert Notifier.from_environment(environment) == expected
