"""The budget of bytes that a device may write to its card in a day. Pure.

    budget = WriteBudget.full(32 * MIB, now_s=now_s)      # or as it was kept, `at` the time that it is now
    budget = budget.charged(written_bytes)

Writing wears a card. Of the bytes that a day may cost, a quarter may be written at once, and five eighths come back
evenly over a day; the last eighth is for what is written once more later. So no 24 hours of running time ever cost more
than the whole, whenever they begin.

Time is the monotonic clock of the machine: jumps of the system clock neither free the budget nor lock it. After a start
of the machine that clock begins again at 0, and only what it shows then counts as having passed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

DAY_S = 86400.0


@dataclass(frozen=True)
class WriteBudget:
    """The bytes that may be written at `as_of_s` of the monotonic clock; `day_bytes` is what a day may cost."""

    day_bytes: int
    left_bytes: float
    as_of_s: float

    @classmethod
    def full(cls, day_bytes: int, *, now_s: float) -> WriteBudget:
        """Return the budget of a device that has written nothing yet."""
        return cls(day_bytes, day_bytes / 4, now_s)

    @property
    def reserve_bytes(self) -> float:
        """What is left for what cannot wait: events of the spool, late labels."""
        return self.day_bytes / 16

    @property
    def patience_bytes(self) -> float:
        """Until so much may be written, what is more than may be written waits: many messages a commit cost less."""
        return (self.day_bytes / 4 - self.reserve_bytes) / 2

    @property
    def fold_bytes(self) -> int:
        """How much may have been paid, at most, that is only written when SQLite's log is folded."""
        return self.day_bytes // 8

    def at(self, now_s: float) -> WriteBudget:
        """Return the budget at a later time; a clock that is lower than before is one of a machine that started."""
        passed_s = now_s - self.as_of_s if now_s >= self.as_of_s else max(0.0, now_s)
        earned = passed_s * self.day_bytes * 5 / 8 / DAY_S
        return replace(self, left_bytes=min(self.day_bytes / 4, self.left_bytes + earned), as_of_s=now_s)

    def charged(self, written_bytes: float) -> WriteBudget:
        """Return what is left after a write."""
        return replace(self, left_bytes=self.left_bytes - written_bytes)
