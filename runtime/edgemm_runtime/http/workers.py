"""A pool of threads for requests that take long, behind a bounded queue.

    pool = WorkerPool(threads=4, max_waiting=64)
    if not pool.submit(job): ...  # full

A thread that hangs in native code cannot be ended. It is given up: another thread takes its place, its job is told, and
it ends itself if it ever comes back.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

import msgspec

_log = logging.getLogger(__name__)


class WorkerJob(msgspec.Struct, frozen=True):
    """What is to be done, and what instead of its end where it hangs."""

    work: Callable[[], None]
    given_up: Callable[[], None]


class WorkerPool:
    """At most `threads` jobs at once and `max_waiting` that wait; threads are made when they are needed."""

    def __init__(self, *, threads: int, max_waiting: int) -> None:
        self._max_threads, self._max_waiting = threads, max_waiting
        self._jobs: deque[WorkerJob] = deque()
        self._changed = threading.Condition()
        self._threads: dict[int, WorkerJob | None] = {}
        self._idle = 0
        self._stopping = False

    @property
    def waiting(self) -> int:
        """How many jobs no thread has taken yet."""
        return len(self._jobs)

    def submit(self, job: WorkerJob) -> bool:
        """Have a job done soon; False where too many wait already."""
        with self._changed:
            busy = sum(job is not None for job in self._threads.values())
            if len(self._jobs) - (self._max_threads - busy) >= self._max_waiting or self._stopping:
                return False
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._changed.notify()
            elif len(self._threads) < self._max_threads:
                self._start()
            return True

    def give_up(self, thread: int) -> bool:
        """Replace a thread that hangs; False where it is none of these."""
        with self._changed:
            if thread not in self._threads:
                return False
            job = self._threads.pop(thread)
            if self._jobs and not self._stopping:
                self._start()
        if job is not None:
            job.given_up()
        return True

    def stop(self) -> None:
        """Start nothing more; threads end after the job that they are at."""
        with self._changed:
            self._stopping = True
            self._jobs.clear()
            self._changed.notify_all()

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name="edgemm-worker", daemon=True)
        thread.start()
        assert thread.ident is not None
        self._threads[thread.ident] = None

    def _work(self) -> None:
        me = threading.get_ident()
        while True:
            with self._changed:
                if me not in self._threads:
                    return
                self._threads[me] = None
                while not self._jobs and not self._stopping:
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                if self._stopping:
                    return
                job = self._threads[me] = self._jobs.popleft()
            try:
                job.work()
            except Exception:  # noqa: BLE001 - the thread's boundary: one job's fault ends no thread
                _log.exception("a request's thread failed")
            del job  # and with it the request, while this thread waits for another
