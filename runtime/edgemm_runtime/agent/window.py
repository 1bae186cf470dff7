"""Which spooled messages to send now. Pure: ids, answers and the monotonic clock are arguments.

In order, at most so many unacknowledged at a time; all over again after a reconnect, or when nothing was acknowledged
for a while. Doubles are normal: the fleet manager drops them by their sequence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Window:
    """How far sending came: `position` is the last id sent, `outstanding` how many wait for their answer."""

    position: int = 0
    outstanding: int = 0
    progress_s: float = 0.0
    """When something was last sent after silence, or acknowledged."""

    def connected(self, now_s: float) -> Window:
        """Begin again from the oldest message."""
        return Window(progress_s=now_s)

    def sent(self, message_id: int, now_s: float) -> Window:
        """Note that a message was handed to the broker."""
        progress = self.progress_s if self.outstanding else now_s
        return Window(message_id, self.outstanding + 1, progress)

    def acknowledged(self, dropped: int, now_s: float) -> Window:
        """Note that `dropped` messages are stored."""
        return replace(self, outstanding=max(0, self.outstanding - dropped), progress_s=now_s)

    def checked(self, now_s: float, *, resend_after_s: float) -> Window:
        """Begin again if nothing was acknowledged for too long."""
        if self.outstanding and now_s - self.progress_s >= resend_after_s:
            return Window(progress_s=now_s)
        return self
