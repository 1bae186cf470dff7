"""What memory processes hold, as Linux counts it.

The proportional set size divides a page by the processes that map it, whoever they are: on a machine where another
program runs the same Python and the same libraries, it says less than what a server costs alone. The resident set size
counts shared pages whole, once for each process: for one process it is what the PSS would be there alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

MIB = 1024 * 1024


class Memory(msgspec.Struct, frozen=True):
    """PSS and RSS, summed over processes."""

    pss_bytes: int
    rss_bytes: int


def of(pids: Iterable[int]) -> Memory:
    """Return the memory of processes; one that has ended counts nothing."""
    rollups = [_rollup(pid) for pid in pids]
    return Memory(sum(field(text, "Pss") for text in rollups), sum(field(text, "Rss") for text in rollups))


def field(rollup: str, name: str) -> int:
    """Return one field of `smaps_rollup` in bytes, 0 where it is missing. Pure."""
    lines = (line.split() for line in rollup.splitlines())
    return next((1024 * int(words[1]) for words in lines if words[:1] == [f"{name}:"]), 0)


def _rollup(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return ""
