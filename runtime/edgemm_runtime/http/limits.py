"""The limits of one serving process, in one place."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from edgemm_runtime.memory.request_memory import usual_bytes

_MIB = 1024 * 1024


@dataclass(frozen=True)
class ServingLimits:
    """Limits of the HTTP server."""

    max_body_bytes: int = 32 * _MIB
    """Largest request body, counted after decompression."""

    memory_bytes: int = field(default_factory=usual_bytes)
    """What all requests may hold at a time, from the first byte of each to the last byte of its answer.

    That is what was received of it, decompressed and decoded, and the answer. One that could never fit gets 413, one
    that finds no room now 503 with Retry-After.
    """

    max_header_bytes: int = 64 * 1024
    """Largest request head."""

    max_connections: int = 256
    """Open connections; for one more, those that have been idle for longest are closed.

    Fewer where the limit of open files leaves no room for so many.
    """

    idle_connection_s: float = 120.0
    """A connection without a request for so long is closed."""

    head_s: float = 15.0
    """A request whose head is not whole by then is refused."""

    min_body_bytes_per_s: int = 4096
    """A body that comes more slowly than this, after `head_s`, is refused: it would hold a place."""

    request_s: float = 60.0
    """A request that is not answered by then is answered 504."""

    linger_s: float = 2.0
    """How long a client that was refused may go on sending; closed at once, TCP would reset what it has yet to read."""

    drain_s: float = 5.0
    """How long a stopping server lets requests in flight finish."""

    loops: int = field(default_factory=lambda: min(4, os.cpu_count() or 1))
    """Threads that read and write, and answer what is quick: one, until several answer more requests a second."""

    threads: int = field(default_factory=lambda: max(4, 2 * (os.cpu_count() or 1)))
    """Requests that take longer and are answered at once; engines release the GIL while they compute.

    Where all are taken, a model that has none of them gets one more.
    """

    max_waiting: int = 64
    """Requests for one model that wait for one of `threads`; beyond it 429 with Retry-After."""

    quick_s: float = 0.002
    """A model whose requests take less is asked where its request is read, without a change of threads."""

    awake_s: float = 100e-6
    """A loop that has answered a quick request looks out for the next one for so long before it sleeps."""

    max_together: int = 8
    """Requests for one model that have come by the time one is answered are computed as one batch, up to so many."""

    quick_bytes: int = 256 * 1024
    """A larger body is decoded in one of `threads`."""

    compress_bytes: int = 16 * 1024
    """Answers of at least so many bytes are compressed where the client accepts it."""
