"""The memory that this process may use: the machine's, or its control group's where that has less."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_MOST_PLAUSIBLE = 2**60
"""Version 1 of control groups says "no limit" by a number larger than this."""
_GROUPS = Path("sys/fs/cgroup")


def memory_bytes(root: Path = Path("/")) -> int:
    """Return the bytes; of control groups, the least that this one or one above it allows (versions 1 and 2)."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in _limit_files(root):
        try:
            said = path.read_text().strip()
        except OSError:
            continue  # no such group, such as at the root
        if said.isascii() and said.isdigit() and int(said) < _MOST_PLAUSIBLE:
            found.append(int(said))
    return min(found)


def _limit_files(root: Path) -> Iterator[Path]:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / _GROUPS / ("memory" if controllers else "")
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        # In a container the path is often the host's, and what lies at the top is the container's own.
        for folder in (PurePosixPath(group), *PurePosixPath(group).parents):
            yield top / folder.relative_to("/") / name
