"""What a device's report means for its part in a rollout: report → where the member stands."""

from __future__ import annotations

from typing import Any

import pytest

from edgemm.messages import DesiredModel, Reported, ReportedModel
from edgemm.states import UpdateState
from edgemm_fleet.records.members import Member, MemberState
from edgemm_fleet.records.rollout_plan import Group, RolloutPlan
from edgemm_fleet.rollout.judgement import judge, overdue

NOW = 1_800_000_000.0
NEW, OLD = "2" * 64, "1" * 64
PLAN = RolloutPlan(model="m", version="2.0.0", digest=NEW, groups=(Group(count=1),), tolerated_rejections=("no_space",))
_M, _U = MemberState, UpdateState


def member(state: MemberState = _M.PENDING, **changes: Any) -> Member:
    values: dict[str, Any] = {
        "rollout": "r-1",
        "device": "cam-1",
        "group": 0,
        "state": state,
        "attempt": 2,
        "generation": 7,
        "previous": None,
        "started_at": NOW - 10,
        "changed_at": NOW - 10,
        "deadline_at": NOW + 100,
    }
    return Member(**values | changes)


def report(state: UpdateState | None, *, generation: int = 7, **changes: Any) -> Reported:
    values: dict[str, Any] = {
        "name": "m",
        "state": state,
        "digest": NEW,
        "version": "2.0.0",
        "attempt": 2,
        "active_digest": OLD,
    }
    models = () if state is None else (ReportedModel(**values | changes),)
    return Reported(
        fleet="lab",
        device="cam-1",
        boot="0" * 16,
        boot_count=1,
        sequence=1,
        time="2027-01-15T08:00:00Z",
        clock_synced=True,
        generation=generation,
        runtime="0.1.0",
        models=models,
    )


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        # What it says of an older generation is not about this rollout.
        (report(_U.COMMITTED, generation=6, active_digest=NEW), _M.PENDING),
        (report(None), _M.REACHED),
        (report(_U.ACCEPTED), _M.REACHED),
        (report(_U.STAGED), _M.REACHED),
        # It cannot be that what failed is what runs, in whatever attempt.
        (report(_U.FAILED, attempt=3, active_digest=NEW), _M.REACHED),
        (report(_U.ROLLED_BACK, attempt=1, active_digest=NEW), _M.REACHED),
        (report(_U.REJECTED, attempt=3, active_digest=NEW), _M.COMMITTED),
        (report(_U.FAILED, digest="3" * 64, attempt=3, active_digest=NEW), _M.COMMITTED),
        (report(_U.CANCELED, attempt=3, active_digest=NEW), _M.COMMITTED),
        (report(_U.ACTIVATING), _M.ACTIVATING),
        (report(_U.PROBATION), _M.ACTIVATING),
        (report(_U.ROLLING_BACK), _M.ACTIVATING),
        (report(_U.COMMITTED, active_digest=NEW), _M.COMMITTED),
        (report(_U.COMMITTED, active_digest=NEW, generation=9), _M.COMMITTED),
        (report(_U.FAILED, reason="selftest_failed"), _M.FAILED),
        (report(_U.ROLLED_BACK, reason="errors"), _M.FAILED),
        (report(_U.REJECTED, reason="damaged"), _M.FAILED),
        (report(_U.REJECTED, reason="no_space"), _M.EXCUSED),
        (report(_U.CANCELED, reason="superseded"), _M.EXCUSED),
        (report(_U.ROLLED_BACK, reason="superseded"), _M.EXCUSED),
        # What it says of another attempt, or another version, is not the end of this one …
        (report(_U.FAILED, attempt=1), _M.REACHED),
        (report(_U.FAILED, digest=OLD), _M.REACHED),
        # … nor is a commit of an earlier time, when nothing is active any more.
        (report(_U.COMMITTED, active_digest=None), _M.REACHED),
        # But a device that runs the version already has it.
        (report(_U.COMMITTED, attempt=1, active_digest=NEW), _M.COMMITTED),
    ],
)
def test_what_a_report_means_for_a_device_that_was_told(said: Reported, expected: MemberState) -> None:
    assert judge(member(), said, plan=PLAN, now=NOW).state is expected


@pytest.mark.parametrize("state", [_M.COMMITTED, _M.EXCUSED, _M.REVERTED])
def test_an_end_is_an_end(state: MemberState) -> None:
    ended = member(state, deadline_at=None)
    assert judge(ended, report(_U.FAILED), plan=PLAN, now=NOW) is ended


@pytest.mark.parametrize("reason", ["deadline", "silent"])
def test_a_device_given_up_that_reports_after_all_is_taken_at_its_word(reason: str) -> None:
    late = member(_M.FAILED, reason=reason, deadline_at=None)
    assert judge(late, report(_U.COMMITTED, active_digest=NEW), plan=PLAN, now=NOW).state is _M.COMMITTED
    failed = member(_M.FAILED, reason="errors", deadline_at=None)
    assert judge(failed, report(_U.COMMITTED, active_digest=NEW), plan=PLAN, now=NOW) is failed


def test_a_withdrawn_device_that_had_begun_to_activate_still_counts_as_what_it_became() -> None:
    withdrawn = member(_M.WITHDRAWN, deadline_at=None)
    assert judge(withdrawn, report(_U.CANCELED), plan=PLAN, now=NOW) is withdrawn
    assert judge(withdrawn, report(_U.COMMITTED, active_digest=NEW), plan=PLAN, now=NOW).state is _M.COMMITTED


def test_activating_starts_a_deadline_of_its_own_and_later_reports_do_not_move_it() -> None:
    begun = judge(member(), report(_U.ACTIVATING), plan=PLAN, now=NOW)
    assert begun.deadline_at == NOW + PLAN.activation_s
    later = judge(begun, report(_U.PROBATION), plan=PLAN, now=NOW + 50)
    assert later.deadline_at == begun.deadline_at
    assert later.update_state is _U.PROBATION


def test_a_report_that_says_nothing_new_changes_nothing() -> None:
    once = judge(member(), report(_U.ACCEPTED), plan=PLAN, now=NOW)
    assert judge(once, report(_U.ACCEPTED), plan=PLAN, now=NOW + 50) is once


@pytest.mark.parametrize(
    ("state", "ends_as", "reason"),
    [
        (_M.PENDING, _M.TIMED_OUT, "unreached"),
        (_M.REACHED, _M.FAILED, "deadline"),
        (_M.ACTIVATING, _M.FAILED, "silent"),
        (_M.REVERTING, _M.REVERTING, "unreached"),
    ],
)
def test_every_state_that_waits_ends_at_its_deadline(state: MemberState, ends_as: MemberState, reason: str) -> None:
    waiting = member(state)
    assert overdue(waiting, now=NOW + 99) is waiting
    ended = overdue(waiting, now=NOW + 100)
    assert (ended.state, ended.reason, ended.deadline_at) == (ends_as, reason, None)


def test_a_roll_back_is_over_when_the_earlier_version_is_active() -> None:
    reverting = member(_M.REVERTING, generation=8)
    assert judge(reverting, report(_U.COMMITTED, active_digest=NEW, generation=8), plan=PLAN, now=NOW) is reverting
    gone = judge(reverting, report(None, generation=8), plan=PLAN, now=NOW)
    assert (gone.state, gone.deadline_at) == (_M.REVERTED, None)


def test_a_roll_back_to_what_the_device_refuses_has_failed() -> None:
    reverting = member(_M.REVERTING, generation=8, previous=DesiredModel(name="m", version="1.0.0", digest=OLD))
    said: dict[str, Any] = {"digest": OLD, "active_digest": NEW, "generation": 8}
    going_on = report(_U.DOWNLOADING, **said)
    assert judge(reverting, going_on, plan=PLAN, now=NOW) is reverting
    refused = judge(reverting, report(_U.REJECTED, reason="below_minimum_version", **said), plan=PLAN, now=NOW)
    assert (refused.state, refused.reason, refused.deadline_at) == (_M.FAILED, "below_minimum_version", None)


@pytest.mark.parametrize("said", [report(_U.DOWNLOADING), report(_U.STAGED), report(None)])
def test_a_device_that_goes_on_after_its_deadline_is_still_overdue(said: Reported) -> None:
    late = overdue(member(_M.REACHED, deadline_at=NOW), now=NOW)
    assert judge(late, said, plan=PLAN, now=NOW + 1) is late, "an unfinished member without a deadline never ends"
