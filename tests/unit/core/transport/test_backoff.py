from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from edgemm.transport.backoff import Backoff, Connections


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_pauses_are_bounded_and_never_a_busy_loop(failures: int, draw: float) -> None:
    assert 0.1 <= Backoff(1.0, 300.0).delay_s(failures, draw=draw) <= 300.0


def test_pauses_grow_and_spread() -> None:
    backoff = Backoff(1.0, 300.0)
    assert [backoff.delay_s(n, draw=0.5) for n in (1, 2, 3, 4, 20)] == [0.5, 1.0, 2.0, 4.0, 150.0]
    assert backoff.delay_s(5, draw=0.9) > backoff.delay_s(5, draw=0.2)


def test_refusals_in_a_row_lengthen_the_pause_until_a_connection_lasts() -> None:
    story = Connections()
    counted = []
    for _ in range(4):
        story = story.failed()
        counted.append(story.failures)
    assert counted == [1, 2, 3, 4]
    assert story.ended(30.0, lasting_s=30.0).failures == 1


def test_a_broker_that_lets_in_and_drops_at_once_is_called_upon_less_and_less() -> None:
    story = Connections()
    counted = []
    for _ in range(4):
        story = story.ended(0.1, lasting_s=30.0)
        counted.append(story.failures)
    assert counted == [1, 2, 3, 4]
    assert story.failed().failures == 4, "an outage between does not make it trusted"
    assert story.ended(31.0, lasting_s=30.0) == Connections()


def test_one_connection_after_an_outage_ends_its_long_pauses() -> None:
    story = Connections(refused=20)
    assert story.ended(1.0, lasting_s=30.0).failures == 1


def test_a_fleet_that_lost_its_broker_comes_back_spread_over_the_whole_ceiling() -> None:
    """10,000 devices after 5 refusals each: no tenth of the time sees much more than its share."""
    backoff, rng = Backoff(1.0, 300.0), random.Random(7)
    pauses = [backoff.delay_s(Connections(refused=5).failures, draw=rng.random()) for _ in range(10_000)]
    tenths = Counter(min(9, int(pause / 1.6)) for pause in pauses)
    assert max(tenths.values()) < 2.2 * 10_000 / 10  # the least pause takes the first tenth's devices to the second
    assert min(tenths[n] for n in range(1, 10)) > 0.8 * 10_000 / 10
