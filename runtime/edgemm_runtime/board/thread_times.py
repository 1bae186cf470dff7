"""The times of this process's threads, as Linux counts them: on a CPU, and waiting for one.

    before = threads_seen(time.monotonic())
    ...
    starved_s = threads_seen(time.monotonic()).times[native_id].waited_s - before.times[native_id].waited_s

A system that does not count them (no `/proc`, no `schedstat`) tells nothing: no thread, or one that never waits.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_TASKS, _MINE = Path("/proc/self/task"), Path("/proc/thread-self")
_NS = 1e-9


class ThreadTime(NamedTuple):
    """How long a thread has been on a CPU, and ready to run without one, since it began.

    A wait that still goes on is not in `waited_s`: Linux counts it when it ends. `ready` tells that there may be one.
    """

    ran_s: float
    waited_s: float
    ready: bool = False


class ThreadsSeen(NamedTuple):
    """The threads of this process at a look.

    `now_s` is of whichever clock is looked at. `python` are the native ids of Python's threads by their idents; all
    others are an engine's.
    """

    now_s: float
    times: Mapping[int, ThreadTime]
    python: Mapping[int, int]


def threads_seen(now_s: float) -> ThreadsSeen:
    """Return all threads as they are now."""
    python = {t.ident: t.native_id for t in threading.enumerate() if t.ident is not None and t.native_id}
    return ThreadsSeen(now_s, thread_times(), python)


def thread_times() -> dict[int, ThreadTime]:
    """Return the times of all threads, by their native ids; the engines' own threads are among them."""
    found = {}
    with suppress(OSError):
        for task in _TASKS.iterdir():
            if (time := _read(task)) is not None:
                found[int(task.name)] = time._replace(ready=_state(task) == b"R")
    return found


def own_waited_s() -> float:
    """Return how long this thread has been ready to run without a CPU since it began."""
    time = _read(_MINE)
    return 0.0 if time is None else time.waited_s


def _read(task: Path) -> ThreadTime | None:
    with suppress(OSError, ValueError):
        # Source: Documentation/scheduler/sched-stats.rst of Linux.
        ran, waited, _ = (task / "schedstat").read_bytes().split()
        return ThreadTime(int(ran) * _NS, int(waited) * _NS)
    return None


def waits_for_a_disk(native_id: int) -> bool:
    """Tell whether a thread waits for a disk just now (state D), as where memory is short and pages come from there."""
    return _state(_TASKS / str(native_id)) == b"D"


def _state(task: Path) -> bytes:
    with suppress(OSError):
        _, _, after = (task / "stat").read_bytes().rpartition(b") ")
        return after[:1]
    return b""
