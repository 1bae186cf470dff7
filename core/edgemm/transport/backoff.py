"""The backoff before the next try: full jitter over an exponential ceiling. Pure.

Full jitter is a uniform draw below the ceiling. It spreads a fleet that lost its server at one moment best; see M.
Brooker, "Exponential Backoff And Jitter", 2015.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

_MAX_DOUBLINGS = 32
_LEAST_SHARE = 0.1


@dataclass(frozen=True)
class Backoff:
    """The ceiling's first value and its largest, in seconds."""

    first_s: float
    max_s: float

    def delay_s(self, failures: int, *, draw: float) -> float:
        """Return the pause after `failures` (≥ 1) in a row; `draw` is uniform in [0, 1).

        Never less than a tenth of the ceiling, so that a refused connection does not become a busy loop.
        """
        return self.ceiling_s(failures) * max(draw, _LEAST_SHARE)

    def ceiling_s(self, failures: int) -> float:
        """Return the longest pause after `failures` (≥ 1) in a row: twice as long each time, at most `max_s`."""
        return min(self.max_s, self.first_s * 2.0 ** min(failures - 1, _MAX_DOUBLINGS))


@dataclass(frozen=True)
class Connections:
    """What became of the latest connections to a server that should hold them.

    One that lasts ends a row of failures. A server that lets everybody in and at once drops them again would else be
    called upon by a whole fleet at its quickest pace.
    """

    refused: int = 0
    """Attempts in a row that did not get in."""

    short: int = 0
    """Connections in a row that did not last, whatever was refused between them."""

    def failed(self) -> Connections:
        """Note that an attempt did not get in."""
        return replace(self, refused=self.refused + 1)

    def ended(self, held_s: float, *, lasting_s: float) -> Connections:
        """Note that a connection is over after `held_s`; from `lasting_s` on it counts as one that lasts."""
        return Connections(short=0 if held_s >= lasting_s else self.short + 1)

    @property
    def failures(self) -> int:
        """How many failures in a row the next pause follows, at least 1: nobody comes back at once."""
        return max(1, self.refused, self.short)
