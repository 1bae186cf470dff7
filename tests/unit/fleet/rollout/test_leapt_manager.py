"""A manager that was started with a clock years ahead, and then with a right one: what it began ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemm import times
from edgemm.messages import Desired
from edgemm.states import RolloutState
from edgemm_fleet.records.records import EnrolmentTokenRecord, PersonToken, Role
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.store import dates, desired, enrolment_tokens, person_tokens, rollouts
from simulators.broker import LocalFleet

DAY_S = 86400.0
YEAR_S = 366 * DAY_S


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    fleet = LocalFleet(tmp_path)
    yield fleet
    fleet.store.close()


def tick(fleet: LocalFleet) -> None:
    fleet.runner.tick(fleet.store, now=fleet.now)
    with fleet.store.write() as tx:
        fleet.director.renew(tx, now=fleet.now)


def test_a_member_that_is_silent_times_out_all_the_same(fleet: LocalFleet) -> None:
    fleet.add("cam-0", "cam-1")
    fleet.devices["cam-1"].silent = True
    fleet.now += 5 * YEAR_S
    rollout = fleet.run("1.0.0", Group(percent=100, deadline_s=60, soak_s=30))
    fleet.now -= 5 * YEAR_S
    for _ in range(5):
        tick(fleet)
        fleet.now += 61
    with fleet.store.read() as tx:
        assert rollouts.get(tx, rollout).state == "finished"
        assert [m.state for m in rollouts.members_of(tx, rollout)] == ["committed", "timed_out"]


def test_a_desired_of_the_future_is_dated_anew(fleet: LocalFleet) -> None:
    fleet.add("cam-0")
    fleet.now += 5 * YEAR_S
    fleet.run("1.0.0", Group(percent=100))
    fleet.now -= 5 * YEAR_S
    before = _desired(fleet)
    tick(fleet)
    after = _desired(fleet)
    assert (after.generation, after.content()) == (before.generation, before.content())
    assert times.from_text(after.not_before) <= fleet.now < times.from_text(after.expires) <= fleet.now + 8 * DAY_S
    tick(fleet)
    assert _desired(fleet) == after


def _desired(fleet: LocalFleet) -> Desired:
    with fleet.store.read() as tx:
        found = desired.find(tx, "cam-0")
    assert found is not None
    return found.desired


@pytest.mark.parametrize("ahead_s", [DAY_S, 5 * YEAR_S])
def test_a_token_made_by_a_clock_ahead_has_the_lifetime_that_it_was_given(fleet: LocalFleet, ahead_s: float) -> None:
    now, then = fleet.now, fleet.now + ahead_s
    with fleet.store.write() as tx:
        for name, at in (("right", now - 60), ("ahead", then)):
            token = EnrolmentTokenRecord(
                id=name, labels={}, uses_allowed=1, uses=0, created_by="ann", created_at=at, expires_at=at + DAY_S
            )
            enrolment_tokens.add(tx, token, secret_hash=name)
            person = PersonToken(id=name, person="ann", role=Role.ADMIN, created_at=at, expires_at=at + DAY_S)
            person_tokens.add(tx, person, token_hash=name)
        assert dates.redate(tx, now=now) == 2
        assert dates.redate(tx, now=now) == 0
        for page in (enrolment_tokens.page(tx), person_tokens.page(tx)):
            expiries = {token.id: token.expires_at for token in page.items}
            assert expiries == {"right": now - 60 + DAY_S, "ahead": now + DAY_S}


def test_what_was_sent_in_the_future_and_not_answered_is_sent_again(fleet: LocalFleet) -> None:
    fleet.add("cam-0")
    fleet.devices["cam-0"].silent = True
    fleet.start(fleet.plan("1.0.0", Group(percent=100)))
    fleet.hand_out()
    with fleet.store.write() as tx:
        told = desired.unsent(tx, limit=10)
        desired.mark_sent(tx, told, now=fleet.now + 5 * YEAR_S)
        assert list(desired.due(tx, now=fleet.now, limit=10)) == ["cam-0"]
        desired.mark_sent(tx, told, now=fleet.now)
        assert desired.due(tx, now=fleet.now, limit=10) == {}


def test_a_leap_moves_the_dates_of_a_group_and_nothing_else(fleet: LocalFleet) -> None:
    fleet.add("cam-0", "cam-1")
    fleet.devices["cam-1"].silent = True
    rollout = fleet.run("1.0.0", Group(percent=100, deadline_s=60))
    with fleet.store.write() as tx:
        before = rollouts.get(tx, rollout).groups[0]
        dates.shift(tx, [RolloutState.RUNNING], by_s=DAY_S)
        after = rollouts.get(tx, rollout).groups[0]
    assert before.deadline_at is not None
    assert (after.deadline_at, after.matching) == (before.deadline_at + DAY_S, 2)
