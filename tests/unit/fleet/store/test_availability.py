"""For how long a database fails, with a clock that the test sets."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError

from edgemm.errors import EnvironmentFailure
from edgemm_fleet.store.availability import Availability
from edgemm_fleet.worker import ToldFailure


class Clock:
    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


def fail(found: Availability, error: Exception) -> None:
    with pytest.raises(EnvironmentFailure), found.watched():
        raise error


def of_database() -> EnvironmentFailure:
    error = EnvironmentFailure("fleet database x: database or disk is full")
    error.__cause__ = OperationalError("INSERT", {}, Exception("full"))
    return error


@pytest.mark.parametrize("told", [True, False])
def test_a_failure_lasts_until_it_works_and_some_time_is_over(*, told: bool) -> None:
    clock = Clock()
    found = Availability("x", "write", monotonic=clock)
    assert found.failing_s() is None
    fail(found, ToldFailure("it is gone") if told else of_database())
    clock.now_s += 40.0
    assert found.failing_s() == 40.0, "nothing has worked since"
    with found.watched():
        pass
    assert found.failing_s() is None
    fail(found, of_database())
    clock.now_s += 2.0
    with found.watched():
        pass
    clock.now_s += 2.0
    assert found.failing_s() == 4.0, "what changes nothing works on a full disk too"
    fail(found, of_database())
    clock.now_s += 1.0
    assert found.failing_s() == 5.0
    assert "full" in found.error


def test_some_that_fail_among_others_that_work_are_one_line_a_minute_with_a_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As with too few connections: some transactions get one, others do not."""
    clock = Clock()
    found = Availability("x", "read", monotonic=clock)
    for _ in range(150):
        clock.now_s += 1.0
        fail(found, ToldFailure("it has too few connections"))
        with found.watched():
            pass
    lines = [record.getMessage().split(" database=")[0] for record in caplog.records]
    fails = "database_fails kind=read error=it has too few connections times={}; the manager goes on trying"
    back = "database_back kind=read"
    assert lines == [fails.format(1), back, fails.format(60), back, fails.format(60), back]


def test_an_outage_is_told_each_minute_with_a_count_and_its_end_at_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    found = Availability("x", "write", monotonic=clock)
    for _ in range(121):
        fail(found, ToldFailure("another fleet manager uses it"))
        clock.now_s += 1.0
    with found.watched():
        pass
    lines = [record.getMessage() for record in caplog.records]
    assert [line.rpartition("times=")[2].split(";")[0] for line in lines[:-1]] == ["1", "60", "60"]
    assert lines[-1] == "database_back kind=write database=x after=121 s"


def test_what_is_not_the_databases_is_none_of_its_failures() -> None:
    found = Availability("x", "write", monotonic=Clock())
    fail(found, EnvironmentFailure("the clock of this machine shows 1970"))
    assert found.failing_s() is None
