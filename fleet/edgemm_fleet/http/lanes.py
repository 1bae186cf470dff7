"""The lanes of requests: threads of their own for each kind of caller, so that no kind waits behind another.

    lanes = LaneThreads()
    if not lanes.submit(Lane.DEVICES, "192.0.2.7", job): ...  # full: 503

Within a lane addresses take turns, and none may have more than half of the places to wait.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

Job = Callable[[], None]


class Lane(Enum):
    """A kind of request."""

    PUBLIC = "public"
    """What everybody may ask: health, the page."""
    PEOPLE = "people"
    """What takes a person's token."""
    DEVICES = "devices"
    """What a device fetches; the bytes of a file are sent without a thread."""
    ENROLMENT = "enrolment"
    UPLOADS = "uploads"
    """Bodies that a thread reads as they come; only who may send one is read to the end."""
    DOUBTFUL = "doubtful"
    """Tokens that are not known, of an address that has shown too many wrong ones."""
    FILES = "files"
    """Reading from a disk what it has not in memory."""

    @property
    def memory_share(self) -> float:
        """How much of the server's memory requests and answers of this lane may fill."""
        return 1.0 if self is Lane.PEOPLE else 0.5


class LaneSize(NamedTuple):
    """How many requests are answered at once, and how many may wait."""

    threads: int
    waiting: int


SIZES: Mapping[Lane, LaneSize] = MappingProxyType(
    {
        Lane.PUBLIC: LaneSize(2, 64),
        Lane.PEOPLE: LaneSize(4, 128),
        Lane.DEVICES: LaneSize(4, 1024),
        Lane.ENROLMENT: LaneSize(2, 256),
        Lane.UPLOADS: LaneSize(4, 8),
        Lane.DOUBTFUL: LaneSize(1, 16),
        Lane.FILES: LaneSize(2, 4096),
    }
)


class LaneQueue:
    """The jobs of one lane that wait, in turns of addresses. Pure."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[str, deque[Job]] = {}
        self._turns: deque[str] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, address: str, job: Job) -> bool:
        """Have a job wait; False where there is no place for one more, or not for this address."""
        mine = self._waiting.get(address)
        if self._count >= self._most or (mine is not None and len(mine) >= max(1, self._most // 2)):
            return False
        if mine is None:
            mine = self._waiting[address] = deque()
            self._turns.append(address)
        mine.append(job)
        self._count += 1
        return True

    def take(self) -> Job:
        """Return the next job; there is one."""
        address = self._turns.popleft()
        mine = self._waiting[address]
        job = mine.popleft()
        self._count -= 1
        if mine:
            self._turns.append(address)
        else:
            del self._waiting[address]
        return job

    def clear(self) -> None:
        """Forget them."""
        self._waiting.clear()
        self._turns.clear()
        self._count = 0


class LaneThreads:
    """The threads of all lanes, made when they are needed."""

    def __init__(self, sizes: Mapping[Lane, LaneSize] = SIZES) -> None:
        self._pools = {lane: _Pool(lane, size) for lane, size in sizes.items()}

    def submit(self, lane: Lane, address: str, job: Job) -> bool:
        """Have a job done by a thread of a lane; False where too many wait."""
        return self._pools[lane].submit(address, job)

    def stop(self) -> None:
        """Start nothing more; threads end after the job that they are at."""
        for pool in self._pools.values():
            pool.stop()


class _Pool:
    """The threads of one lane."""

    def __init__(self, lane: Lane, size: LaneSize) -> None:
        self._name, self._most = f"edgemm-http-{lane.value}", size.threads
        self._queue = LaneQueue(size.waiting)
        self._changed = threading.Condition()
        self._threads = self._idle = 0
        self._stopping = False

    def submit(self, address: str, job: Job) -> bool:
        """Have a job done; False where there is no place to wait."""
        with self._changed:
            if self._stopping or not self._queue.put(address, job):
                return False
            if self._idle >= len(self._queue):
                self._changed.notify()
            elif self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
            return True

    def stop(self) -> None:
        """Start nothing more."""
        with self._changed:
            self._stopping = True
            self._queue.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        try:
            while (job := self._next()) is not None:
                job()
                del job  # and with it the request, while this thread waits for another
        finally:  # of a fault of ours this thread ends, and the next request makes another
            with self._changed:
                self._threads -= 1

    def _next(self) -> Job | None:
        with self._changed:
            while not len(self._queue) and not self._stopping:
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            return None if self._stopping else self._queue.take()
