"""What was answered is not answered again at once: (key, time) → answered or passed over."""

from __future__ import annotations

import itertools
import random

from edgemm_runtime.agent.repeats import Repeats


def test_the_same_is_answered_after_pauses_that_double() -> None:
    repeats = Repeats(first_s=60, longest_s=600)
    answered = [second for second in range(7200) if repeats.due("conflict 7", second)]
    assert answered[:5] == [0, 60, 180, 420, 900]
    assert {b - a for a, b in itertools.pairwise(answered[4:])} == {600}


def test_something_new_is_answered_at_once() -> None:
    repeats = Repeats(first_s=60, longest_s=600)
    assert repeats.due("conflict 7", 0)
    assert not repeats.due("conflict 7", 1)
    assert repeats.due("conflict 8", 1)
    repeats.clear()
    assert repeats.due("conflict 7", 2)


def test_ever_new_ones_are_not_answered_without_end() -> None:
    repeats = Repeats(first_s=60, longest_s=600, most=16)
    answered = sum(repeats.due(number, number / 100) for number in range(60_000))
    assert answered <= 16 * 6


def test_what_did_not_come_for_long_begins_anew() -> None:
    repeats = Repeats(first_s=60, longest_s=600)
    assert [repeats.due("x", second) for second in (0, 60, 1000, 1059, 1060)] == [True, True, True, False, True]


def test_no_order_of_messages_is_answered_more_often_than_once_in_the_first_pause() -> None:
    draw = random.Random(1)
    repeats = Repeats(first_s=5, longest_s=300)
    last: dict[int, float] = {}
    now_s = 0.0
    for _ in range(20_000):
        now_s += draw.expovariate(1)
        key = draw.randrange(20)
        if repeats.due(key, now_s):
            assert now_s - last.get(key, -5.0) >= 5
            last[key] = now_s
