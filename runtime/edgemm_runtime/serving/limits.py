"""What one serving process accepts, in one place."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

_MIB = 1024 * 1024


@dataclass(frozen=True)
class ServingLimits:
    """Limits of the HTTP server."""

    max_body_bytes: int = 32 * _MIB
    """Largest request body, counted after decompression."""

    max_header_bytes: int = 64 * 1024
    """Largest request head."""

    max_connections: int = 100
    """Open connections beyond this wait in the kernel's queue."""

    idle_connection_s: int = 120
    """A connection without a request for so long is closed."""

    drain_s: float = 5.0
    """How long a stopping server lets requests in flight finish."""

    threads: int = field(default_factory=lambda: max(4, 2 * (os.cpu_count() or 1)))
    """Requests that are answered at once; engines release the GIL while they compute."""
