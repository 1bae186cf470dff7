"""File descriptors: room for many connections, and the low numbers left to others.

paho, which carries the manager's MQTT, waits by `select`, which knows no number from 1024 on. So what this server opens
by the thousand is moved above.
"""

from __future__ import annotations

import fcntl
import os
import resource

_LOW = 1024
_SPARE = 64
_FEWEST = 16


def moved_up(descriptor: int) -> int:
    """Return the same file under a number from 1024 on, where the limit of open files allows one."""
    try:
        moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _LOW)
    except OSError:
        return descriptor
    os.close(descriptor)
    return moved


def connections_within(wanted: int, *, files: int) -> int:
    """Return how many connections may be open beside `files`, at most `wanted`; raises the soft limit where it can."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _LOW + _SPARE + files + wanted
    most = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
    if soft != resource.RLIM_INFINITY and soft < most:
        soft = most
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return allowed_connections(wanted, files=files, limit=needed if soft == resource.RLIM_INFINITY else soft)


def allowed_connections(wanted: int, *, files: int, limit: int) -> int:
    """Return the same for a limit; below 2,048 half of it is for connections. Pure."""
    room = limit - _LOW - _SPARE - files if limit >= 2 * _LOW + files else limit // 2
    return max(_FEWEST, min(wanted, room))
