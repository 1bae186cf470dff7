"""The memory of what this device answered already, so that an answer does not draw the same message again. Pure.

A message that changes nothing here, because it is refused or known, is answered at once the first time. The same again
is answered after a pause, which doubles each time, and is passed over before that. What did not come for twice its
pause is forgotten, and so is everything once something new was taken. Times are arguments, in seconds.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True)
class _Pause:
    until_s: float
    length_s: float


class Repeats:
    """What was answered lately, by key; at most `most` keys, so that ever new ones are not answered without end."""

    def __init__(self, *, first_s: float, longest_s: float, most: int = 16) -> None:
        self._first_s, self._longest_s, self._most = first_s, longest_s, most
        self._pauses: dict[Hashable, _Pause] = {}

    def due(self, key: Hashable, now_s: float) -> bool:
        """Tell whether this is to be answered now, and note that it is."""
        known = self._pauses.get(key)
        if known is not None and now_s < known.until_s:
            return False
        if known is None and not self._has_room(now_s):
            return False
        length_s = self._first_s
        if known is not None and now_s < known.until_s + known.length_s:
            length_s = min(self._longest_s, 2 * known.length_s)
        self._pauses[key] = _Pause(now_s + length_s, length_s)
        return True

    def clear(self) -> None:
        """Forget everything: what comes next is answered at once."""
        self._pauses.clear()

    def _has_room(self, now_s: float) -> bool:
        if len(self._pauses) >= self._most:
            self._pauses = {key: one for key, one in self._pauses.items() if now_s < one.until_s + one.length_s}
        return len(self._pauses) < self._most
