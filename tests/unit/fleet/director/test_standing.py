"""When a device is told again, and when it is forgotten how often it was."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from edgemm.messages import Desired, RefusedDesired, Reported
from edgemm_fleet.director.standing import Standing, may_answer, may_forget, settled
from edgemm_fleet.records.records import DesiredRecord, DesiredRefusal, ReportedRecord

NOW = 1_800_000_000.0
WANTED = Desired(
    fleet="plant",
    device="cam-1",
    generation=5,
    not_before="2027-01-01T00:00:00Z",
    expires="2027-02-01T00:00:00Z",
    models=(),
)
SENT = DesiredRecord(desired=WANTED, unsent=False, content_hash="", sent_at=NOW - 1, tries=1, again_at=NOW + 30)
ON_ITS_WAY = replace(SENT, unsent=True, again_at=None)


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("found", [Standing.BEHIND, Standing.BEYOND])
def test_what_is_on_its_way_is_answered_so_many_times_however_long_the_broker_takes(
    found: Standing, *, connected: bool
) -> None:
    answered = [
        may_answer(replace(ON_ITS_WAY, tries=tries), found, connected=connected, now=NOW) for tries in range(100)
    ]
    assert 0 < sum(answered) < 8
    assert may_answer(replace(ON_ITS_WAY, tries=99), found, connected=connected, now=NOW + 3600), "and not never again"


def test_tries_are_forgotten_once_the_broker_had_it_for_a_while() -> None:
    assert not may_forget(ON_ITS_WAY, now=NOW)
    assert not may_forget(SENT, now=NOW)
    assert may_forget(SENT, now=NOW + 30)
    assert may_forget(replace(SENT, again_at=None), now=NOW)


ANSWER = Reported(
    fleet="plant",
    device="cam-1",
    boot="0" * 16,
    boot_count=1,
    sequence=1,
    time="2027-01-01T00:00:00Z",
    clock_synced=True,
    generation=5,
    runtime="0.1.0",
)
HEARD = ReportedRecord(reported=ANSWER, highest_generation=5, received_at=NOW, told_generation=5)


def test_nothing_is_done_about_a_device_that_acts_on_what_it_is_told() -> None:
    assert settled(SENT, HEARD, now=NOW)
    assert settled(None, None, now=NOW)
    assert not settled(SENT, HEARD, now=NOW + 30), "how often it was told is forgotten then"
    assert settled(replace(SENT, tries=0, again_at=None), HEARD, now=NOW + 30)


@pytest.mark.parametrize(
    ("current", "report"),
    [
        (SENT, None),
        (SENT, replace(ANSWER, generation=4)),
        (SENT, replace(ANSWER, generation=6)),
        (SENT, replace(ANSWER, desired_hash="f" * 64)),
        (SENT, replace(ANSWER, refused=RefusedDesired(cause="desired_untrusted", generation=5))),
        (replace(SENT, refusal=DesiredRefusal(cause="desired_expired", generation=5, detail="", at=NOW)), ANSWER),
    ],
)
def test_something_is_to_be_done_about_a_device_that_does_not(current: DesiredRecord, report: Reported | None) -> None:
    heard = None if report is None else replace(HEARD, reported=report)
    assert not settled(current, heard, now=NOW)
