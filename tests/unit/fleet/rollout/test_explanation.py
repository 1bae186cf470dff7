"""What a halt says of why devices failed: members → text."""

from __future__ import annotations

from edgemm_fleet.records.members import Member, MemberState
from edgemm_fleet.rollout.explanation import explain, in_short


def member(device: str, reason: str | None, detail: str | None = None) -> Member:
    return Member(
        rollout="r-1",
        device=device,
        group=0,
        state=MemberState.FAILED,
        attempt=1,
        generation=1,
        previous=None,
        started_at=0.0,
        changed_at=0.0,
        deadline_at=None,
        reason=reason,
        detail=detail,
    )


def test_nothing_is_added_where_nobody_failed() -> None:
    assert explain([]) == ""


def test_the_example_of_a_reason_is_a_device_that_said_something_of_it() -> None:
    said = explain([member("cam-1", "errors"), member("cam-2", "errors", "12 of 40 requests failed")])
    assert said == ": errors (2): cam-2: 12 of 40 requests failed"


def test_the_most_frequent_reasons_are_told_and_the_others_counted() -> None:
    members = [member(f"cam-{n}", f"reason-{n}") for n in range(5)] + [member("cam-9", "reason-4")]
    assert explain(members) == (": reason-4 (2): cam-4; reason-0 (1): cam-0; reason-1 (1): cam-1; 2 more reasons")


def test_what_a_device_says_stays_on_one_line_and_short() -> None:
    assert in_short("errors", "a\x1b[31m\n\tb") == "errors: a [31m b"
    assert len(in_short(None, "x" * 1024)) == 240
    assert in_short(None, None) == ""


def test_a_reason_steers_no_terminal_either() -> None:
    said = "x\x1b]0;mine\x07\nr-2 finished"
    assert in_short(said, None) == "x ]0;mine r-2 finished"
    assert explain([member("cam-1", said)]) == ": x ]0;mine r-2 finished (1): cam-1"
