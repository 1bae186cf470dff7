"""The limits on a shadow's cost, in one place."""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class ShadowLimits:
    """Limits of one shadow."""

    busy_share: float = 0.002
    """It computes for at most this share of the time: a burst is followed by a pause that is so much longer than it.

    Of the time that passes, since at the lowest priority it is mostly waiting, and requests meet it all the while: on a
    CPU, a shared cache or a memory bus. They are then rarer than those that a 99th percentile is about.
    """

    longest_pause_s: float = 60.0
    """A burst that had to wait for a CPU is followed by no longer pause than this, and what it computed asks for."""

    burst_samples: int = 16
    """Samples that wait at a time, and go to the shadow at once; beyond it they are dropped and counted."""

    burst_bytes: int = 4 * _MIB
    """Inputs and outputs that wait at a time, in bytes; a larger request is no sample."""

    gather_s: float = 0.05
    """How long after its first sample a burst is gathered."""

    memory_share: float = 0.5
    """Of the memory that is available when its process starts, what it may take beyond what an idle one needs."""

    load_timeout_s: float = 30.0
    """A shadow that does not load and answer its golden samples within this time is killed."""

    answer_timeout_s: float = 30.0
    """A shadow that does not answer a burst within this time is killed."""

    restart_first_s: float = 1.0
    """Pause after the first crash; it doubles with each further one."""

    max_crashes: int = 5
    """After so many crashes without an answer between them it is given up."""

    def pause_s(self, took_s: float, *, cpu_s: float) -> float:
        """Return how long it rests after a burst that was answered after `took_s` and computed for `cpu_s` seconds."""
        waited_s = min(self.longest_pause_s, took_s / self.busy_share - took_s)
        return max(waited_s, cpu_s / self.busy_share - cpu_s)


DEFAULT_SHARE = 0.05
"""Share of requests that a shadow sees unless told otherwise."""
