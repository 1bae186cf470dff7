from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edgemm_fleet.ingest.fair_queue import FairQueue, Offer, ShareLimits

LIMITS = ShareLimits(
    device_bytes=400, total_bytes=1000, span_bytes=10_000, modest_bytes=50, turn_bytes=0, message_bytes=10
)


def everything(queue: FairQueue[str]) -> list[str]:
    return queue.take(most=10_000, most_bytes=10**9)


def test_devices_are_served_in_turn_and_each_in_order() -> None:
    queue = FairQueue[str](LIMITS)
    for item in ("a1", "a2", "a3", "b1", "c1", "c2"):
        assert queue.offer(item[0], item, size=1) is Offer.TAKEN
    assert queue.take(most=4, most_bytes=1000) == ["a1", "b1", "c1", "a2"]
    assert everything(queue) == ["c2", "a3"]
    assert queue.held_bytes == 0


def test_a_turn_is_of_so_many_bytes_or_of_one_message_that_is_larger() -> None:
    queue = FairQueue[str](replace(LIMITS, turn_bytes=40))
    for item, size in (("a1", 10), ("a2", 10), ("a3", 10), ("b1", 90), ("b2", 10), ("c1", 25), ("c2", 25), ("c3", 25)):
        assert queue.offer(item[0], item, size=size) is Offer.TAKEN
    assert queue.held_messages == 8
    assert queue.take(most=5, most_bytes=1000) == ["a1", "a2", "b1", "c1", "c2"]
    assert everything(queue) == ["a3", "b2", "c3"]
    assert (queue.held_bytes, queue.held_messages) == (0, 0)


def test_a_batch_ends_by_its_bytes_and_has_one_message_at_least() -> None:
    queue = FairQueue[str](LIMITS)
    for item in ("a1", "a2"):
        queue.offer("a", item, size=100)
    assert queue.take(most=10, most_bytes=1) == ["a1"]


def test_a_device_over_its_share_is_shed_until_some_of_it_is_taken() -> None:
    queue = FairQueue[str](LIMITS)
    answers = [queue.offer("a", "x", size=90) for _ in range(6)]
    assert answers == [Offer.TAKEN] * 4 + [Offer.SHED] * 2
    queue.take(most=1, most_bytes=1000)
    assert queue.offer("a", "x", size=90) is Offer.TAKEN


def test_floods_of_many_leave_room_for_one_that_is_modest() -> None:
    queue = FairQueue[str](LIMITS)
    for number in range(200):
        queue.offer(f"bad-{number % 4}", "x", size=90)
    assert queue.held_bytes <= LIMITS.total_bytes
    assert queue.offer("honest", "h", size=90) is Offer.TAKEN
    assert "h" in queue.take(most=5, most_bytes=10_000)


def test_a_modest_message_waits_where_there_is_no_room_and_a_large_one_is_shed() -> None:
    queue = FairQueue[str](LIMITS)
    for number in range(40):
        queue.offer(f"one-{number}", "x", size=15)
    assert queue.offer("late", "x", size=15) is Offer.WAIT
    assert queue.offer("late", "x", size=90) is Offer.SHED
    queue.take(most=4, most_bytes=1000)
    assert queue.offer("late", "x", size=15) is Offer.TAKEN


def test_what_a_device_gets_in_within_a_span_is_bounded_and_counts_anew_in_the_next() -> None:
    queue = FairQueue[str](ShareLimits(device_bytes=400, total_bytes=1000, span_bytes=300, span_s=10, message_bytes=0))
    queue.begin_span(100.0)
    for answer in (Offer.TAKEN,) * 3 + (Offer.SHED,):
        assert queue.offer("a", "x", size=100) is answer
        everything(queue)
    assert queue.offer("b", "x", size=100) is Offer.TAKEN
    queue.begin_span(109.0)
    assert queue.offer("a", "x", size=100) is Offer.SHED
    queue.begin_span(110.0)
    assert queue.offer("a", "x", size=100) is Offer.TAKEN


@given(st.integers(0, 2**32))
def test_whatever_comes_it_is_bounded_and_what_is_taken_comes_out_once_in_order(seed: int) -> None:
    draw = random.Random(seed)
    queue = FairQueue[tuple[str, int]](replace(LIMITS, turn_bytes=draw.choice((0, 100))))
    taken: dict[str, list[int]] = {}
    out: dict[str, list[int]] = {}
    for number in range(200):
        device = draw.choice("abcdefgh")
        if queue.offer(device, (device, number), size=draw.randrange(0, 500)) is Offer.TAKEN:
            taken.setdefault(device, []).append(number)
        assert 0 <= queue.held_bytes <= LIMITS.total_bytes
        if draw.random() < 0.3:
            for name, item in queue.take(most=draw.randrange(1, 5), most_bytes=draw.randrange(1, 500)):
                out.setdefault(name, []).append(item)
    for name, item in queue.take(most=1000, most_bytes=10**6):
        out.setdefault(name, []).append(item)
    assert out == taken
    assert (queue.held_bytes, queue.held_messages) == (0, 0)
