"""The settings of a spool: whose messages it keeps, and its limits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from edgemm_runtime.agent.spool.budget import AT_ONCE, SpoolRules


@dataclass(frozen=True, kw_only=True)
class SpoolSettings:
    """Whose messages a spool keeps, and its limits."""

    boot: str
    """The id of this start; never used again."""

    boot_count: int
    """The number of this start, which rises."""

    max_bytes: int
    """What may wait; beyond it the oldest messages are dropped and counted."""

    day_bytes: int | None = None
    """What may be written in any 24 hours that the device runs; None: anything."""

    rules: SpoolRules = AT_ONCE
    """When messages in memory are due on the disk."""

    monotonic: Callable[[], float] = time.monotonic
    """The clock by which they wait, in seconds."""
