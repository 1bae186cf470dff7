"""A limit on what this process allocates while a block runs, in all of its threads: what needs more fails at once.

    with data_limit.within(256 * MIB):
        interpreter.invoke()

It is the soft RLIMIT_DATA (setrlimit(2)): what the process has by now, so many bytes, and some for other threads. What
an engine asks for beyond that it is not given, which it reports as an error. Outside of such blocks there is none.
"""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OTHERS_BYTES = 64 * 1024 * 1024
_STATUS = Path("/proc/self/statm")
_DATA_FIELD = 5


class _Blocks:
    """Those that run now, and the limit before the first of them."""

    lock = threading.Lock()
    running = 0
    before = resource.RLIM_INFINITY


@contextmanager
def within(count: int) -> Iterator[None]:
    """Let the block, and whatever else runs beside it, allocate so many bytes."""
    with _Blocks.lock:
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if not _Blocks.running:
            _Blocks.before = soft
        _Blocks.running += 1
        _set(_data_bytes() + count + _OTHERS_BYTES, hard)
    try:
        yield
    finally:
        with _Blocks.lock:
            _Blocks.running -= 1
            if not _Blocks.running:
                resource.setrlimit(resource.RLIMIT_DATA, (_Blocks.before, hard))


def _set(wanted: int, hard: int) -> None:
    """Set the limit; where one is set already, the lower one holds."""
    for limit in (_Blocks.before, hard):
        if limit != resource.RLIM_INFINITY:
            wanted = min(wanted, limit)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def _data_bytes() -> int:
    return int(_STATUS.read_text().split()[_DATA_FIELD]) * resource.getpagesize()
