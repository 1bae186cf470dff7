"""How long to wait before the next try: full jitter over an exponential ceiling. Pure.

Full jitter (a uniform draw below the ceiling) spreads a fleet that lost its server at one moment best; see M. Brooker,
"Exponential Backoff And Jitter", 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

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
        ceiling = min(self.max_s, self.first_s * 2.0 ** min(failures - 1, _MAX_DOUBLINGS))
        return ceiling * max(draw, _LEAST_SHARE)
