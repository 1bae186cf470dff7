"""The send window: decides which spooled messages to send now. Pure.

Ids, answers, the monotonic clock and random draws are arguments. Messages are sent in order, at most so many
unacknowledged at a time. Sending begins again from the oldest one after a reconnect, and when the oldest was not
acknowledged for a while. That time grows whenever nobody answered at all: where a broker is up and no fleet manager
hears, sending again stores nothing. Doubles are normal: the fleet manager drops them by their sequence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgemm.transport.backoff import Backoff


@dataclass(frozen=True)
class Window:
    """How far sending came: `position` is the last id sent, `outstanding` how many wait for their answer."""

    position: int = 0
    outstanding: int = 0
    oldest: int = 0
    """The id that has waited longest; an answer to another one is no progress for it."""
    progress_s: float = 0.0
    """Since when the oldest one waits."""
    unheard: int = 0
    """How often in a row it began again without any answer."""
    pause_s: float = 0.0
    """By how much longer it waits for that."""

    def connected(self, now_s: float) -> Window:
        """Begin again from the oldest message."""
        return Window(progress_s=now_s)

    def sent(self, message_id: int, now_s: float) -> Window:
        """Note that a message was handed to the broker."""
        if self.outstanding:
            return replace(self, position=message_id, outstanding=self.outstanding + 1)
        return replace(self, position=message_id, outstanding=1, oldest=message_id, progress_s=now_s)

    def acknowledged(self, dropped: int, now_s: float, *, oldest: int | None) -> Window:
        """Note that `dropped` messages are stored; `oldest` is the lowest id that is still held, None for none."""
        left = 0 if oldest is None else max(0, self.outstanding - dropped)
        if oldest is None or oldest > self.oldest:
            return Window(self.position, left, oldest or 0, now_s)
        return replace(self, outstanding=left, unheard=0, pause_s=0.0)

    def checked(self, now_s: float, *, resend: Backoff, draw: float) -> Window:
        """Begin again if the oldest message has waited for too long: at first `resend.first_s`.

        For each time in a row that nobody answered, a pause of `resend` more; `draw` is uniform in [0, 1).
        """
        if self.outstanding and now_s - self.progress_s >= resend.first_s + self.pause_s:
            unheard = self.unheard + 1
            return Window(progress_s=now_s, unheard=unheard, pause_s=resend.delay_s(unheard, draw=draw))
        return self
