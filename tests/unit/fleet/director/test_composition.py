"""When a device is told something new: what is wanted, sent and reported → generation."""

from __future__ import annotations

import pytest

from edgemm import times
from edgemm.messages import Action, Desired, DesiredModel, decode_control, encode_control
from edgemm_fleet.director.composition import Validity, WantedState, compose

NOW = 1_800_000_000.0
DAY = 86400.0
ONE = DesiredModel(name="m", version="1.0.0", digest="1" * 64)
TWO = DesiredModel(name="m", version="2.0.0", digest="2" * 64)


def told(model: DesiredModel, generation: int, *, at: float = NOW) -> Desired:
    first = compose(
        WantedState("lab", "cam-1", [model]), current=None, highest_reported=generation - 1, validity=Validity(), now=at
    )
    assert first is not None
    assert first.generation == generation
    return first


def next_for(model: DesiredModel, current: Desired | None, *, reported: int, now: float = NOW) -> Desired | None:
    wanted = WantedState("lab", "cam-1", [model])
    return compose(wanted, current=current, highest_reported=reported, validity=Validity(), now=now)


def test_nothing_changes_while_the_same_is_wanted() -> None:
    assert next_for(ONE, told(ONE, 5), reported=5) is None
    assert next_for(ONE, told(ONE, 5), reported=3) is None


@pytest.mark.parametrize(("sent", "reported", "generation"), [(5, 5, 6), (5, 0, 6), (5, 9, 10)])
def test_a_new_generation_lies_above_all_that_was_sent_or_reported(sent: int, reported: int, generation: int) -> None:
    changed = next_for(TWO, told(ONE, sent), reported=reported)
    assert changed is not None
    assert (changed.generation, changed.models) == (generation, (TWO,))


def test_a_device_ahead_of_a_restored_backup_gets_a_higher_generation_for_the_same_content() -> None:
    changed = next_for(ONE, told(ONE, 5), reported=8)
    assert changed is not None
    assert changed.generation == 9


@pytest.mark.parametrize("sent", [None, 5])
def test_a_generation_above_which_there_is_no_number_is_not_believed(sent: int | None) -> None:
    changed = next_for(TWO, told(ONE, sent) if sent else None, reported=2**53 - 1)
    assert changed is not None
    assert changed.generation == (sent or 0) + 1
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
    assert compose(wanted, current=None, highest_reported=0, validity=Validity(), now=NOW) is None


def test_an_action_is_something_new() -> None:
    wanted = WantedState("lab", "cam-1", [ONE], [Action(id="a", kind="prune")])
    changed = compose(wanted, current=told(ONE, 5), highest_reported=5, validity=Validity(), now=NOW)
    assert changed is not None
    assert changed.generation == 6
