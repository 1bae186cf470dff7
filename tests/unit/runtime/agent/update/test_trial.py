"""Golden samples on probation: what clients have of a model, and a machine that stands still, are no hang."""

from __future__ import annotations

import threading

import pytest

from edgemm.errors import EngineError, UnavailableError
from edgemm_runtime.agent.update import trial
from edgemm_runtime.agent.update.trial import Progress, supervised
from edgemm_runtime.engines.pool import Pool


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_LOOK_AGAIN_S", 0.01)


def test_one_that_is_never_answered_hangs() -> None:
    leave = threading.Event()
    assert supervised(lambda: (leave.wait(60), None)[1], Progress(slowest_s=None, first_s=0.05)) == (None, True)
    leave.set()


def test_one_that_waits_for_requests_that_were_first_does_not() -> None:
    pool = Pool("one", lambda: "another", size=1)
    member, progress = pool.take(), Progress(slowest_s=None, first_s=0.02)
    threading.Timer(0.3, pool.give, [member]).start()
    assert supervised(lambda: pool.give(pool.take()), progress) == (None, False)


def test_one_that_finds_no_room_tells_nothing() -> None:
    pool = Pool("one", lambda: "another", size=1, wait_s=0.01)
    pool.take()
    with pytest.raises(UnavailableError):
        supervised(lambda: pool.give(pool.take()), Progress(slowest_s=None, first_s=60.0))


def test_one_that_fails_tells_why() -> None:
    def fail() -> None:
        raise EngineError("out of order")

    assert supervised(fail, Progress(slowest_s=None, first_s=60.0)) == ("out of order", False)
