"""When a device is told again, and when it is forgotten how often it was."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from edgemm.messages import Desired
from edgemm_fleet.director.standing import Standing, may_answer, may_forget
from edgemm_fleet.records.records import DesiredRecord

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
