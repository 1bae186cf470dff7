"""The limits on the sequences of a stateful model, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SequenceLimits:
    """Limits of the sequences of each stateful model."""

    max_running: int = 16
    """Sequences of one model that run at a time, each in an interpreter of its own; beyond it 503 with Retry-After."""

    idle_s: float = 60.0
    """A sequence without a request for so long is forgotten: its next one is told to begin anew."""
