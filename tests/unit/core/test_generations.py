"""The arithmetic of generations: above what was told and reported, made from the time, with room above it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm.messages.generations import (
    ACCEPTED_AHEAD_S,
    CEILING,
    NONCES,
    acceptable,
    counted,
    next_generation,
    of_time,
    plausible,
    time_of,
)
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


def test_the_time_in_a_generation_is_that_of_its_making() -> None:
    assert time_of(of_time(NOW_S + 0.25, nonce=1023)) == NOW_S + 0.25
    assert time_of(7) == 0.0, "a counter of an earlier version"


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
    assert made > counted(last, now_s=now_s)
    assert made > reported or not plausible(reported, last=counted(last, now_s=now_s), now_s=now_s)
    assert made >= of_time(now_s)
    assert made <= CEILING + NONCES < LARGEST
    assert made % NONCES == nonce


@pytest.mark.parametrize("reported", [LARGEST, CEILING + 1, 2**52, of_time(NOW_S + 31 * YEAR_S)])
def test_what_no_clock_can_have_made_no_device_takes(reported: int) -> None:
    assert not acceptable(reported, now_s=NOW_S)


@pytest.mark.parametrize(
    "reported", [LARGEST, CEILING + 1, 2**52, *(of_time(NOW_S + n * YEAR_S) for n in (11, 19, 20, 25, 29, 31))]
)
def test_what_no_clock_can_have_made_is_not_believed(reported: int) -> None:
    assert not plausible(reported, last=7, now_s=NOW_S)
    assert next_generation(last=7, reported=reported, now_s=NOW_S, nonce=1) == of_time(NOW_S, nonce=1)


@pytest.mark.parametrize("reported", [0, 1, 8, 2**31, of_time(NOW_S), of_time(NOW_S + 10 * YEAR_S)])
def test_counters_and_times_are_believed(reported: int) -> None:
    assert plausible(reported, last=7, now_s=NOW_S)
    assert acceptable(reported, now_s=NOW_S)


def test_what_the_manager_itself_told_is_believed() -> None:
    told = of_time(NOW_S + 15 * YEAR_S)
    assert plausible(told, last=told, now_s=NOW_S)
    assert next_generation(last=told, reported=told, now_s=NOW_S, nonce=0) > told


def test_a_manager_whose_own_last_number_has_no_room_begins_again_at_the_clock() -> None:
    assert next_generation(last=LARGEST, reported=LARGEST, now_s=NOW_S, nonce=1) == of_time(NOW_S, nonce=1)


@given(clock_s=clocks, nonce=nonces, now_s=clocks)
def test_a_manager_believes_all_that_a_manager_made_by_a_clock(clock_s: float, nonce: int, now_s: float) -> None:
    made = next_generation(last=0, reported=0, now_s=clock_s, nonce=nonce)
    assert plausible(made, last=0, now_s=now_s) or clock_s > now_s + 10 * YEAR_S - 1


@given(
    told=numbers | st.floats(0, 40).map(lambda years: of_time(NOW_S + years * YEAR_S)),
    reports=st.lists(numbers | st.floats(0, 40).map(lambda years: of_time(NOW_S + years * YEAR_S)), max_size=5),
    now_s=st.floats(BUILD_TIME_S, BUILD_TIME_S + PLAUSIBLE_S - 86400),
    behind=st.floats(0, 1),
    nonce=nonces,
)
def test_whatever_is_reported_a_device_takes_what_it_is_told_next(
    told: int, reports: list[int], now_s: float, behind: float, nonce: int
) -> None:
    """The device's time is anything from its build to the right one, and it holds what it took before."""
    device_s = now_s - behind * (now_s - BUILD_TIME_S)
    last = told
    held = told if acceptable(told, now_s=device_s) else 0
    for reported in reports:
        last = next_generation(last=last, reported=reported, now_s=now_s, nonce=nonce)
        if told <= of_time(now_s + ACCEPTED_AHEAD_S / 2):  # what the manager told by itself leaves as much room
            assert last > held
            assert acceptable(last, now_s=device_s)
            held = last


@pytest.mark.parametrize("years", [20, 25, 30])
def test_a_number_that_an_earlier_version_believed_too_much_for_is_counted_no_longer(years: int) -> None:
    told = of_time(NOW_S + years * YEAR_S)
    assert counted(told, now_s=NOW_S) == 0
    assert next_generation(last=told, reported=told, now_s=NOW_S, nonce=1) == of_time(NOW_S, nonce=1)
