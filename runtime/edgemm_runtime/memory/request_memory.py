"""The memory that one request may take, in bytes: as much as all together may hold.

request_memory.allow(limits.memory_bytes)   # once, before models are loaded
request_memory.most_bytes()                 # what engines keep to whose tensors a request makes as long as it likes
"""

from __future__ import annotations

from edgemm_runtime.memory.machine_memory import memory_bytes

_MOST_BYTES = 256 * 1024 * 1024
_SHARE = 4


class _Allowed:
    """What somebody allowed."""

    most_bytes: int | None = None


def usual_bytes() -> int:
    """Return what all requests may hold together where nothing else is said."""
    return min(_MOST_BYTES, memory_bytes() // _SHARE)


def allow(most_bytes: int) -> None:
    """Say what a request may take from now on, of models that are loaded after this."""
    _Allowed.most_bytes = most_bytes


def most_bytes() -> int:
    """Return what a request may take."""
    return usual_bytes() if _Allowed.most_bytes is None else _Allowed.most_bytes
