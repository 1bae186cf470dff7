"""A pool of threads: bounded, made as needed, and none of its jobs can take it down."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from edgemm_runtime.http.workers import WorkerJob, WorkerPool
from simulators.waiting import eventually


def unexpected() -> None:
    raise AssertionError("it was given up")


def until(event: threading.Event) -> Callable[[], None]:
    def wait() -> None:
        event.wait(60)

    return wait


def test_jobs_beyond_the_threads_wait_and_beyond_that_are_refused() -> None:
    pool, leave, done = WorkerPool(threads=2, max_waiting=3), threading.Event(), []

    def job() -> None:
        leave.wait(60)
        done.append(threading.get_ident())

    assert [pool.submit(WorkerJob(job, unexpected)) for _ in range(2)] == [True, True]
    eventually(lambda: pool.waiting == 0, "both threads are at a job")
    assert [pool.submit(WorkerJob(job, unexpected)) for _ in range(4)] == [True, True, True, False]
    leave.set()
    eventually(lambda: len(done) == 5, "every job that was taken is done")
    assert len(set(done)) == 2
    pool.stop()


def test_where_none_may_wait_there_is_a_job_for_each_thread() -> None:
    pool, leave, done = WorkerPool(threads=2, max_waiting=0), threading.Event(), []

    def job() -> None:
        leave.wait(60)
        done.append(threading.get_ident())

    assert [pool.submit(WorkerJob(job, unexpected)) for _ in range(3)] == [True, True, False]
    leave.set()
    eventually(lambda: len(done) == 2, "both jobs are done")
    eventually(lambda: pool.submit(WorkerJob(job, unexpected)), "a thread is free again")
    pool.stop()


def test_a_job_that_fails_ends_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    pool, done = WorkerPool(threads=1, max_waiting=2), threading.Event()
    assert pool.submit(WorkerJob(lambda: 1 / 0, unexpected))  # type: ignore[arg-type]  # a job returns None, this one nothing at all
    assert pool.submit(WorkerJob(done.set, unexpected))
    assert done.wait(60)
    assert "ZeroDivisionError" in caplog.text
    pool.stop()


def test_a_thread_that_is_given_up_is_replaced_and_ends_when_it_comes_back() -> None:
    pool, leave, entered, done = WorkerPool(threads=1, max_waiting=5), threading.Event(), [], threading.Event()
    told = threading.Event()

    def hang() -> None:
        entered.append(threading.current_thread())
        leave.wait(60)

    assert pool.submit(WorkerJob(hang, told.set))
    eventually(lambda: len(entered) == 1, "it hangs")
    assert pool.submit(WorkerJob(done.set, unexpected))
    assert not done.is_set()
    assert entered[0].ident is not None
    assert pool.give_up(entered[0].ident)
    assert done.wait(60)
    assert told.is_set()
    assert not pool.give_up(entered[0].ident), "it is none of the pool's any more"
    leave.set()
    entered[0].join(60)
    assert not entered[0].is_alive()
    pool.stop()


def test_a_lane_does_not_wait_for_the_jobs_of_another() -> None:
    pool, leave, done = WorkerPool(threads=2, max_waiting=20), threading.Event(), threading.Event()

    def heavy() -> None:
        leave.wait(60)

    assert all(pool.submit(WorkerJob(heavy, unexpected, "heavy")) for _ in range(20))
    eventually(lambda: pool.waiting == 18, "both threads are at heavy jobs")
    for _ in range(3):
        done.clear()
        assert pool.submit(WorkerJob(done.set, unexpected, "light"))
        assert done.wait(60)
    assert pool.waiting == 18, "no more than its two threads are at heavy jobs"
    leave.set()
    eventually(lambda: pool.waiting == 0, "all others are done too")
    pool.stop()


def test_a_full_lane_fills_no_other_and_lanes_take_turns() -> None:
    pool, leave, order = WorkerPool(threads=1, max_waiting=2), threading.Event(), []
    pool.submit(WorkerJob(until(leave), unexpected, "a"))
    eventually(lambda: pool.waiting == 0, "the thread is at a job")
    for _ in range(2):
        assert pool.submit(WorkerJob(lambda: order.append("a"), unexpected, "a"))
    assert not pool.submit(WorkerJob(lambda: order.append("a"), unexpected, "a"))
    both = threading.Event()
    assert pool.submit(WorkerJob(until(both), unexpected, "b"))
    eventually(lambda: pool.waiting == 2, "the other lane has a thread of its own")
    for _ in range(2):
        assert pool.submit(WorkerJob(lambda: order.append("b"), unexpected, "b"))
    assert not pool.submit(WorkerJob(lambda: order.append("b"), unexpected, "b"))
    both.set()
    eventually(lambda: order == ["b", "b"], "the lane goes on beside the one that is held up")
    leave.set()
    eventually(lambda: len(order) == 4, "all are done")
    pool.stop()


def test_jobs_of_many_lanes_at_once_all_end() -> None:
    pool, done = WorkerPool(threads=2, max_waiting=100), list[int]()
    for number in range(600):
        assert pool.submit(WorkerJob(partial(done.append, number), unexpected, f"lane {number % 7}"))
    eventually(lambda: len(done) == 600, "all are done")
    pool.stop()


def test_a_thread_that_hangs_leaves_its_lane() -> None:
    pool, leave, entered, done = WorkerPool(threads=1, max_waiting=5), threading.Event(), [], threading.Event()

    def hang() -> None:
        entered.append(threading.get_ident())
        leave.wait(60)

    assert pool.submit(WorkerJob(hang, lambda: None, "a"))
    eventually(lambda: len(entered) == 1, "it hangs")
    assert pool.give_up(entered[0])
    for lane in ("a", "b"):
        done.clear()
        assert pool.submit(WorkerJob(done.set, unexpected, lane))
        assert done.wait(60)
    leave.set()
    pool.stop()
