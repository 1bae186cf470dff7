"""When a device is told something new: what is wanted, sent and reported → generation."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from edgemm import times
from edgemm.messages import Action, Desired, DesiredModel, decode_control, encode_control
from edgemm.messages.generations import NONCES, of_time
from edgemm_fleet.director.composition import Numbering, Validity, WantedState, compose

NOW = 1_800_000_000.0
LATER = of_time(NOW + 60)
NUMBERING = Numbering(NOW, nonce=5)
DAY = 86400.0
ONE = DesiredModel(name="m", version="1.0.0", digest="1" * 64)
TWO = DesiredModel(name="m", version="2.0.0", digest="2" * 64)


def told(model: DesiredModel, generation: int, *, at: float = NOW) -> Desired:
    first = compose(
        WantedState("lab", "cam-1", [model]),
        current=None,
        highest_reported=0,
        numbering=NUMBERING,
        validity=Validity(),
        now=at,
    )
    assert first is not None
    return replace(first, generation=generation)


def next_for(
    model: DesiredModel, current: Desired | None, *, reported: int, now: float = NOW, anew: bool = False
) -> Desired | None:
    return compose(
        WantedState("lab", "cam-1", [model]),
        current=current,
        highest_reported=reported,
        numbering=NUMBERING,
        validity=Validity(),
        now=now,
        anew=anew,
    )


def test_nothing_changes_while_the_same_is_wanted() -> None:
    assert next_for(ONE, told(ONE, 5), reported=5) is None
    assert next_for(ONE, told(ONE, 5), reported=3) is None


@pytest.mark.parametrize(("sent", "reported"), [(5, 5), (5, 0), (5, 9), (5, LATER), (LATER, 5)])
def test_a_new_generation_lies_above_all_that_was_sent_or_reported(sent: int, reported: int) -> None:
    changed = next_for(TWO, told(ONE, sent), reported=reported)
    assert changed is not None
    assert changed.generation > max(sent, reported)
    assert changed.generation % NONCES == NUMBERING.nonce
    assert changed.models == (TWO,)


def test_a_device_ahead_of_a_restored_backup_gets_a_higher_generation_for_the_same_content() -> None:
    changed = next_for(ONE, told(ONE, 5), reported=LATER)
    assert changed is not None
    assert changed.generation > LATER


def test_a_device_that_holds_other_content_under_the_same_generation_gets_a_higher_one() -> None:
    changed = next_for(ONE, told(ONE, 5), reported=5, anew=True)
    assert changed is not None
    assert changed.generation > 5


@pytest.mark.parametrize("sent", [None, 5])
def test_a_generation_above_which_there_is_no_number_is_not_believed(sent: int | None) -> None:
    changed = next_for(TWO, told(ONE, sent) if sent else None, reported=2**53 - 1)
    assert changed is not None
    assert changed.generation == of_time(NOW, nonce=NUMBERING.nonce)
    assert decode_control(encode_control(changed), Desired) == changed
    assert next_for(TWO, changed, reported=2**53 - 1) is None


def test_a_renewal_keeps_generation_and_content() -> None:
    first = told(ONE, 5)
    assert next_for(ONE, first, reported=5, now=NOW + 3.9 * DAY) is None
    renewed = next_for(ONE, first, reported=5, now=NOW + 4.1 * DAY)
    assert renewed is not None
    assert renewed.generation == 5
    assert renewed.content() == first.content()
    assert times.from_text(renewed.expires) > times.from_text(first.expires)


def test_a_new_device_of_which_nothing_is_wanted_is_told_nothing() -> None:
    wanted = WantedState("lab", "cam-1", [])
    new = compose(wanted, current=None, highest_reported=0, numbering=NUMBERING, validity=Validity(), now=NOW)
    assert new is None


def test_an_action_is_something_new() -> None:
    wanted = WantedState("lab", "cam-1", [ONE], [Action(id="a", kind="prune")])
    changed = compose(
        wanted, current=told(ONE, 5), highest_reported=5, numbering=NUMBERING, validity=Validity(), now=NOW
    )
    assert changed is not None
    assert changed.generation > 5
