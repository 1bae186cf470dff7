"""The disk space that a download may take. Pure.

It leaves out the room that is kept for the device's state, and the room that its spool may still grow by.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DiskSpace:
    """What is free, and what of that is spoken for."""

    free_bytes: int
    state_bytes: int = 0
    """Stay free, so that state can be written."""
    spool_bytes: int = 0
    """What the spool may still grow by, up to its cap."""

    @property
    def available_bytes(self) -> int:
        """What a download may take."""
        return max(0, self.free_bytes - self.state_bytes - self.spool_bytes)

    def told(self) -> str:
        """Say where the rest of what is free is needed; empty where a download may take it all."""
        if not self.state_bytes + self.spool_bytes:
            return ""
        return (
            f" (of {self.free_bytes:,} free bytes {self.state_bytes:,} are kept for the device's state"
            f" and {self.spool_bytes:,} for its spool)"
        )
