"""What the log is told of a worker whose steps fail again and again."""

from __future__ import annotations

import threading

import pytest

from edgemm.errors import EnvironmentFailure
from edgemm_fleet import worker
from edgemm_fleet.worker import RecurringFault, Worker


def test_a_fault_is_told_at_once_and_then_each_minute_with_a_count() -> None:
    now_s = 0.0
    fault = RecurringFault(monotonic=lambda: now_s)
    told = []
    for second in range(181):
        now_s = float(second)
        told.append(fault.came("a"))
        if second == 30:
            assert fault.came("b") == 1
    assert [(second, times) for second, times in enumerate(told) if times] == [(0, 1), (60, 60), (120, 60), (180, 60)]


@pytest.mark.parametrize("kind", [EnvironmentFailure, ZeroDivisionError])
def test_steps_that_fail_each_second_are_one_line(
    kind: type[Exception], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_PAUSE_S", 0.0)
    enough = threading.Event()
    steps = iter(range(50))

    def step(_stopping: threading.Event) -> None:
        if (number := next(steps, None)) is not None:
            raise kind(f"cannot write {number} bytes")
        enough.set()

    found = Worker("edgemm-test", step)
    found.start()
    assert enough.wait(30)
    found.stop()
    assert [record.getMessage().split(" error=")[0] for record in caplog.records] == [
        "worker_failed worker=edgemm-test times=1"
    ]
