"""The queue of a lane: addresses take turns, and none has all places."""

from __future__ import annotations

import pytest

from edgemm_fleet.http.lanes import Job, LaneQueue


def job(name: str, done: list[str]) -> Job:
    return lambda: done.append(name)


def test_addresses_take_turns() -> None:
    queue, done = LaneQueue(100), list[str]()
    for number in range(3):
        assert queue.put("many", job(f"many {number}", done))
    assert queue.put("one", job("one", done))
    while len(queue):
        queue.take()()
    assert done == ["many 0", "one", "many 1", "many 2"]


@pytest.mark.parametrize(("places", "of_one"), [(8, 4), (2, 1), (1, 1)])
def test_one_address_has_half_of_the_places(places: int, of_one: int) -> None:
    queue = LaneQueue(places)
    assert [queue.put("many", job("", [])) for _ in range(of_one + 1)] == [True] * of_one + [False]
    assert queue.put("other", job("", [])) is (places > of_one)


def test_places_are_limited_in_all() -> None:
    queue = LaneQueue(3)
    assert [queue.put(str(number), job("", [])) for number in range(4)] == [True] * 3 + [False]
    queue.take()
    assert queue.put("later", job("", []))
