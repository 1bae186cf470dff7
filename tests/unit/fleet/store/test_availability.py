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


def test_what_is_not_the_databases_is_none_of_its_failures() -> None:
    found = Availability("x", "write", monotonic=Clock())
    fail(found, EnvironmentFailure("the clock of this machine shows 1970"))
    assert found.failing_s() is None
