"""File descriptors: how many connections their limit (`ulimit -n`) leaves room for, beside a device's own files."""

from __future__ import annotations

import resource
from pathlib import Path

_FEWEST = 4
_LEAST_SPARE, _MOST_SPARE, _SPARE_SHARE = 16, 64, 3
_MOST = 1024
"""Some libraries wait by `select`, which knows no higher number: the limit is not raised beyond."""


def connections_within(wanted: int) -> int:
    """Return how many connections may be open, at most `wanted`; raises the soft limit where the hard one allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = sum(1 for _ in Path("/proc/self/fd").iterdir())
    allowed = allowed_connections(wanted, limit=soft, in_use=in_use)
    if allowed < wanted and (raised := min(_MOST, hard)) > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        allowed = allowed_connections(wanted, limit=raised, in_use=in_use)
    return allowed


def allowed_connections(wanted: int, *, limit: int, in_use: int) -> int:
    """Return the same for a limit; a third of it, 16 to 64, is spared for models, files and the fleet. Pure."""
    spare = min(_MOST_SPARE, max(_LEAST_SPARE, limit // _SPARE_SHARE))
    return max(_FEWEST, min(wanted, limit - in_use - spare))
