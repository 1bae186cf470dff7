"""The log of what was refused or given up: one line a minute, whatever clients do."""

from __future__ import annotations

import logging
from collections import Counter

_log = logging.getLogger(__name__)
_EVERY_S = 60.0


class RefusalLog:
    """Tells what was counted since it told last."""

    def __init__(self) -> None:
        self._told: Counter[str] = Counter()
        self._told_s = float("-inf")

    def look(self, counts: Counter[str], *, connections: int, now_s: float) -> None:
        """Log what is new, unless that was done within the last minute."""
        if counts == self._told or now_s - self._told_s < _EVERY_S:
            return
        new = counts - self._told
        _log.warning(
            "http_refused connections=%d %s", connections, " ".join(f"{why}={n}" for why, n in sorted(new.items()))
        )
        self._told, self._told_s = counts.copy(), now_s
