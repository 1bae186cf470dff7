"""A store that notes how long each transaction held the writer."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from simulators import needs

with needs.imports(__name__, "fleet"):
    from edgemm_fleet.store import Store, Transaction

_OURS = ("contextlib.py", Path(__file__).name)


class Write(NamedTuple):
    """How long one transaction held the writer, what of that was its commit, and the CPU of it; seconds."""

    held_s: float
    commit_s: float
    cpu_s: float
    kind: str


class TimedStore(Store):
    """A store that notes how long each transaction held the writer, from its begin to the end of its commit."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.writes: list[Write] = []

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Open the one writing transaction."""
        frame = inspect.currentframe()
        while frame is not None and Path(frame.f_code.co_filename).name in _OURS:
            frame = frame.f_back
        kind = frame.f_code.co_qualname if frame is not None else ""
        with super().write() as tx:
            start, started = time.perf_counter(), time.thread_time()
            yield tx
            done = time.perf_counter()
        end = time.perf_counter()
        self.writes.append(Write(end - start, end - done, time.thread_time() - started, kind))

    def figures(self) -> dict[str, object]:
        """Return the longest writes, in all and of each kind."""
        kinds: dict[str, list[Write]] = {}
        for one in self.writes:
            kinds.setdefault(one.kind, []).append(one)
        found = {kind: _longest(some) for kind, some in kinds.items()}
        by_length = dict(sorted(found.items(), key=lambda one: one[1]["longest_s"], reverse=True))
        longest = sorted(self.writes, reverse=True)
        figures: dict[str, object] = {"longest_write_s": longest[0].held_s, "longest_writes": longest[:5]}
        figures |= {"writes": len(longest), "write_p99_s": longest[len(longest) // 100].held_s}
        return figures | {"longest_write_cpu_s": max(one.cpu_s for one in longest), "writes_of": by_length}


def _longest(writes: Sequence[Write]) -> dict[str, float]:
    return {
        "number": len(writes),
        "longest_s": max(one.held_s for one in writes),
        "mean_s": sum(one.held_s for one in writes) / len(writes),
        "longest_commit_s": max(one.commit_s for one in writes),
        "most_cpu_s": max(one.cpu_s for one in writes),
    }
