"""How far behind the ingest is, by a clock that the test sets."""

from __future__ import annotations

import pytest

from edgemm_fleet.ingest.ingest_progress import IngestProgress


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> IngestProgress:
    return IngestProgress(monotonic=clock)


def test_nothing_waits_at_first_and_after_all_is_stored(progress: IngestProgress, clock: Clock) -> None:
    assert (progress.waiting, progress.behind_s()) == (0, 0.0)
    progress.came(clock.now_s)
    clock.now_s += 3.0
    assert (progress.waiting, progress.behind_s()) == (1, 3.0)
    progress.stored(1)
    clock.now_s += 60.0
    assert (progress.waiting, progress.behind_s()) == (0, 0.0)
    progress.came(clock.now_s)
    assert progress.behind_s() == 0.0, "what waited long ago is forgotten"


def test_it_is_behind_by_the_age_of_what_is_stored_next(progress: IngestProgress, clock: Clock) -> None:
    for _ in range(100):
        progress.came(clock.now_s)
        clock.now_s += 0.5
    progress.stored(60)
    assert progress.waiting == 40
    assert progress.behind_s() == pytest.approx(20.0, abs=0.2)
    progress.stored(39)
    assert progress.behind_s() == pytest.approx(0.5, abs=0.2)


def test_messages_by_the_million_take_little_memory(progress: IngestProgress, clock: Clock) -> None:
    for _ in range(50_000):
        progress.came(clock.now_s)
        clock.now_s += 0.2
    assert len(progress._marks) == 10_000
    assert progress.behind_s() > 1000.0


def test_batches_are_counted_by_size(progress: IngestProgress, clock: Clock) -> None:
    progress.stored(7)
    progress.stored(500)
    buckets, total = progress.batches.buckets()
    assert (dict(buckets)["10.0"], dict(buckets)["+Inf"], total) == (1.0, 2.0, 507.0)


def test_there_is_room_for_answers_where_nothing_waits_or_little_and_some_was_stored_since(
    progress: IngestProgress, clock: Clock
) -> None:
    assert progress.follows(clock.now_s)
    told_s = clock.now_s
    for _ in range(1001):
        progress.came(clock.now_s)
    clock.now_s += 1.0
    assert not progress.follows(told_s), "it is not known yet what they make of it"
    progress.stored(1)
    assert progress.follows(told_s)
    assert not progress.follows(clock.now_s + 0.1), "others were told since"
    progress.came(clock.now_s)
    progress.came(clock.now_s)
    assert not progress.follows(told_s), "too much waits"
