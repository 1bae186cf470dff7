"""Which spooled messages to send now. Pure: ids, answers and the monotonic clock are arguments.

In order, at most so many unacknowledged at a time; all over again after a reconnect, or when the oldest of them was
not acknowledged for a while. Doubles are normal: the fleet manager drops them by their sequence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Window:
    """How far sending came: `position` is the last id sent, `outstanding` how many wait for their answer."""

    position: int = 0
    outstanding: int = 0
    oldest: int = 0
    """The id that has waited longest; an answer to another one is no progress for it."""
    progress_s: float = 0.0
    """Since when the oldest one waits."""

    def connected(self, now_s: float) -> Window:
        """Begin again from the oldest message."""
        return Window(progress_s=now_s)

    def sent(self, message_id: int, now_s: float) -> Window:
        """Note that a message was handed to the broker."""
        if self.outstanding:
            return replace(self, position=message_id, outstanding=self.outstanding + 1)
        return Window(message_id, 1, message_id, now_s)

    def acknowledged(self, dropped: int, now_s: float, *, oldest: int | None) -> Window:
        """Note that `dropped` messages are stored; `oldest` is the lowest id that is still held, None for none."""
        left = 0 if oldest is None else max(0, self.outstanding - dropped)
        if oldest is None or oldest > self.oldest:
            return Window(self.position, left, oldest or 0, now_s)
        return replace(self, outstanding=left)

    def checked(self, now_s: float, *, resend_after_s: float) -> Window:
        """Begin again if the oldest message has waited for too long."""
        if self.outstanding and now_s - self.progress_s >= resend_after_s:
            return Window(progress_s=now_s)
        return self
