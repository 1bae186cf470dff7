"""The arithmetic of generations: above what was told and reported, made from the time, with room above it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm.messages.generations import CEILING, NONCES, acceptable, next_generation, of_time, plausible
from edgemm.times import BUILD_TIME_S, PLAUSIBLE_S

NOW_S = BUILD_TIME_S + 86400.0
YEAR_S = 366 * 86400
LARGEST = 2**53 - 1
clocks = st.floats(BUILD_TIME_S, BUILD_TIME_S + PLAUSIBLE_S)
numbers = st.integers(0, LARGEST)
nonces = st.integers(0, NONCES - 1)


def test_a_generation_is_the_time_in_milliseconds_and_the_nonce() -> None:
    made = next_generation(last=0, reported=0, now_s=NOW_S, nonce=5)
    assert made == int(NOW_S * 1000) * 1024 + 5


def test_the_step_from_counters_into_times_is_one() -> None:
    assert next_generation(last=7, reported=9, now_s=NOW_S, nonce=5) == of_time(NOW_S, nonce=5)


def test_a_clock_that_was_put_back_makes_higher_numbers_all_the_same() -> None:
    last = of_time(NOW_S, nonce=900)
    assert next_generation(last=last, reported=0, now_s=NOW_S - 60, nonce=5) == of_time(NOW_S + 0.001, nonce=5)


def test_two_starts_make_different_numbers_of_the_same_past() -> None:
    last = of_time(NOW_S, nonce=900)
    made = {next_generation(last=last, reported=last, now_s=NOW_S - 60, nonce=nonce) for nonce in range(NONCES)}
    assert len(made) == NONCES


def test_numbers_last_until_2248() -> None:
    year_2248 = 8_772_000_000
    assert next_generation(last=0, reported=0, now_s=year_2248, nonce=NONCES - 1) <= LARGEST


@given(last=st.integers(0, CEILING), reported=numbers, now_s=clocks, nonce=nonces)
def test_a_generation_is_above_all_that_is_believed_and_leaves_room(
    last: int, reported: int, now_s: float, nonce: int
) -> None:
    made = next_generation(last=last, reported=reported, now_s=now_s, nonce=nonce)
    assert made > last
    assert made > reported or not plausible(reported, last=last, now_s=now_s)
    assert made >= of_time(now_s)
    assert made <= CEILING + NONCES < LARGEST
    assert made % NONCES == nonce


@pytest.mark.parametrize("reported", [LARGEST, CEILING + 1, 2**52, of_time(NOW_S + 31 * YEAR_S)])
def test_what_no_clock_can_have_made_is_not_believed(reported: int) -> None:
    assert not plausible(reported, last=7, now_s=NOW_S)
    assert not acceptable(reported, now_s=NOW_S)
    assert next_generation(last=7, reported=reported, now_s=NOW_S, nonce=1) == of_time(NOW_S, nonce=1)


@pytest.mark.parametrize("reported", [0, 1, 8, 2**31, of_time(NOW_S), of_time(NOW_S + 10 * YEAR_S)])
def test_counters_and_times_are_believed(reported: int) -> None:
    assert plausible(reported, last=7, now_s=NOW_S)
    assert acceptable(reported, now_s=NOW_S)


def test_what_the_manager_itself_told_is_believed() -> None:
    told = of_time(NOW_S + 31 * YEAR_S)
    assert plausible(told, last=told, now_s=NOW_S)
    assert next_generation(last=told, reported=told, now_s=NOW_S, nonce=0) > told


def test_a_manager_whose_own_last_number_has_no_room_begins_again_at_the_clock() -> None:
    assert next_generation(last=LARGEST, reported=LARGEST, now_s=NOW_S, nonce=1) == of_time(NOW_S, nonce=1)


@given(clock_s=clocks, last=st.integers(0, CEILING), nonce=nonces, now_s=clocks)
def test_a_manager_believes_all_that_any_device_accepts(clock_s: float, last: int, nonce: int, now_s: float) -> None:
    made = next_generation(last=last, reported=0, now_s=clock_s, nonce=nonce)
    assert not acceptable(made, now_s=now_s) or plausible(made, last=0, now_s=BUILD_TIME_S)
