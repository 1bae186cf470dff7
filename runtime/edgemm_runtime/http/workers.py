"""A pool of threads for requests that take long, behind bounded queues: a lane for each model.

    pool = WorkerPool(threads=4, max_waiting=64)
    if not pool.submit(WorkerJob(work, given_up, lane="digits")): ...  # full

Lanes take turns. Where all threads are taken, a lane of which no job is under way has one more thread: no model waits
for requests of another one, however many they are and however long each takes. While several lanes are asked, or
something beside them (`asked_elsewhere`), none computes on all CPUs: those of the others share what it leaves.

A thread that hangs in native code cannot be ended. It is given up: another thread takes its place, its job is told, and
it ends itself if it ever comes back.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec

_log = logging.getLogger(__name__)
_MOST_BESIDE = 16
"""Threads beyond `threads`, for lanes of which nothing is under way."""
_SHARED_S = 5.0
"""For how long after a request for another lane a lane leaves room."""


class WorkerJob(msgspec.Struct, frozen=True):
    """What is to be done, and what instead of its end where it hangs; of the jobs of a lane it is one."""

    work: Callable[[], None]
    given_up: Callable[[], None]
    lane: str = ""


class _Lane:
    """The jobs of one lane that wait, and how many are under way."""

    def __init__(self) -> None:
        self.jobs: deque[WorkerJob] = deque()
        self.running = 0


class WorkerPool:
    """At most `threads` jobs at once, or one of each lane, and `max_waiting` of each lane that wait.

    Threads are made when they are needed.
    """

    def __init__(self, *, threads: int, max_waiting: int) -> None:
        self._max_threads, self._max_waiting = threads, max_waiting
        self._lanes: dict[str, _Lane] = {}
        """Those with jobs, the one first whose turn it is."""
        self._changed = threading.Condition()
        self._threads: dict[int, WorkerJob | None] = {}
        self._idle = self._running = 0
        self._stopping = False
        self.asked_elsewhere = False
        """Set where a request was answered without a job; threads that answer many set it, so it is no call."""
        self._shared_threads = min(threads, max(1, (os.cpu_count() or 1) - 1))
        self._latest, self._shared_s = "", -_SHARED_S

    @property
    def waiting(self) -> int:
        """How many jobs no thread has taken yet."""
        with self._changed:
            return sum(len(lane.jobs) for lane in self._lanes.values())

    def submit(self, job: WorkerJob) -> bool:
        """Have a job done soon; False where too many of its lane wait already."""
        with self._changed:
            lane = self._lanes.get(job.lane) or _Lane()
            if job.lane and job.lane != self._latest:
                if self._latest:
                    self._shared_s = time.monotonic()
                self._latest = job.lane
            if len(lane.jobs) - self._may_begin(lane) >= self._max_waiting or self._stopping:
                return False
            lane.jobs.append(job)
            self._lanes[job.lane] = lane
            self._rouse()
            return True

    def give_up(self, thread: int) -> bool:
        """Replace a thread that hangs; False where it is none of these."""
        with self._changed:
            if thread not in self._threads:
                return False
            job = self._threads.pop(thread)
            if job is not None:
                self._end(job)
            self._rouse()
        if job is not None:
            job.given_up()
        return True

    def stop(self) -> None:
        """Start nothing more; threads end after the job that they are at."""
        with self._changed:
            self._stopping = True
            self._lanes.clear()
            self._changed.notify_all()

    def _may_begin(self, lane: _Lane) -> int:
        """Return how many more jobs of a lane may begin, as far as the lane goes."""
        free = min(self._max_threads - self._running, self._most_of_one() - lane.running)
        return max(free, 0 if lane.running else 1)

    def _most_of_one(self) -> int:
        """Return how many jobs of one lane may be under way."""
        if self.asked_elsewhere:
            self.asked_elsewhere, self._shared_s = False, time.monotonic()
        return self._shared_threads if time.monotonic() - self._shared_s < _SHARED_S else self._max_threads

    def _rouse(self) -> None:
        """Wake as many threads as there are jobs that may begin, or make one."""
        lanes = [lane for lane in self._lanes.values() if lane.jobs]
        due = sum(min(len(lane.jobs), self._may_begin(lane)) for lane in lanes)
        due = min(due, max(self._max_threads - self._running, sum(not lane.running for lane in lanes)))
        if due and not self._stopping:
            self._changed.notify(due)
            # Who is awake looks for more when it has taken a job, so that one is enough.
            if due > self._idle and len(self._threads) < self._max_threads + _MOST_BESIDE:
                self._start()

    def _next(self) -> WorkerJob | None:
        """Take the job whose turn it is out of its lane; None where none may begin."""
        for name, lane in self._lanes.items():
            if lane.jobs and self._may_begin(lane):
                self._lanes[name] = self._lanes.pop(name)  # the last by now
                lane.running += 1
                self._running += 1
                job = lane.jobs.popleft()
                self._rouse()
                return job
        return None

    def _end(self, job: WorkerJob) -> None:
        self._running -= 1
        if (lane := self._lanes.get(job.lane)) is not None:
            lane.running -= 1
            if not lane.jobs and not lane.running:
                del self._lanes[job.lane]

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name="edgemm-worker", daemon=True)
        thread.start()
        assert thread.ident is not None
        self._threads[thread.ident] = None

    def _work(self) -> None:
        me = threading.get_ident()
        while True:
            with self._changed:
                job = None
                while me in self._threads and not self._stopping and (job := self._next()) is None:
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                if job is None:
                    return
                self._threads[me] = job
            try:
                job.work()
            except Exception:  # noqa: BLE001 - the thread's boundary: one job's fault ends no thread
                _log.exception("a request's thread failed")
            with self._changed:
                if me in self._threads:
                    self._threads[me] = None
                    self._end(job)
            del job  # and with it the request, while this thread waits for another
