"""The contiguous part of a numbered stream: the position up to which nothing is missing.

A device numbers what it sends from 1 and gives with each item its `floor`: nothing below that will come any more.
Everything up to the returned position is therefore stored, or given up by the device, and may be acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterable


def contiguous(position: int, *, floor: int, stored: Iterable[int]) -> int:
    """Return the highest sequence up to which everything from `floor` on is stored.

    Args:
        position: the position so far; it never falls.
        floor: the highest floor heard of.
        stored: sequences above the position that are stored, rising; repetitions do not matter.
    """
    reached = max(position, floor - 1)
    for sequence in stored:
        if sequence > reached + 1:
            break
        reached = max(reached, sequence)
    return reached
