"""The sampling of requests for a shadow: each has the same probability, independently. Pure, given a seed.

The gaps between sampled requests are drawn (geometrically distributed, R. Devroye, "Non-Uniform Random Variate
Generation", 1986, X.2), so that a request that is not sampled costs no random number.
"""

from __future__ import annotations

import math
import random

_LONGEST_GAP = 2**53 - 1


class Gaps:
    """Endless numbers of requests to pass over before the next one that is sampled, for a share in (0, 1]."""

    def __init__(self, share: float, *, seed: int | None = None) -> None:
        assert 0 < share <= 1
        self._random = random.Random(seed)  # noqa: S311 - chooses requests, guards nothing
        self._log_left = math.log1p(-share) if share < 1 else -math.inf

    def draw(self) -> int:
        """Return the next gap; 0 takes the very next request."""
        return int(min(math.log1p(-self._random.random()) / self._log_left, _LONGEST_GAP))
