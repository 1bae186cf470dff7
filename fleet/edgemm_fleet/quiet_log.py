"""A log that a peer cannot fill: lines about what strangers do, so many a minute and no more.

What a `QuietLog` leaves out is counted, and told with the next line that is written; a `QuietFilter` leaves out without
a count.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

_SPAN_S = 60.0


class QuietLog:
    """Writes warnings, at most `most_of_one` a minute about one peer and `most` in all; for any thread."""

    def __init__(
        self,
        log: logging.Logger,
        *,
        most_of_one: int = 5,
        most: int = 100,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log, self._most_of_one, self._most, self._monotonic = log, most_of_one, most, monotonic
        self._lock = threading.Lock()
        self._written: Counter[str] = Counter()
        self._left_out = 0
        self._begun_s = -_SPAN_S

    def warning(self, peer: str, text: str, *facts: object) -> None:
        """Write a line about a peer, or count it as left out."""
        with self._lock:
            now_s = self._monotonic()
            if now_s - self._begun_s >= _SPAN_S:
                self._written, self._begun_s = Counter(), now_s
            if self._written.total() >= self._most or self._written[peer] >= self._most_of_one:
                self._left_out += 1
                return
            self._written[peer] += 1
            left_out, self._left_out = self._left_out, 0
        if left_out:
            text, facts = text + " left_out=%d", (*facts, left_out)
        self._log.warning(text, *facts)


class QuietFilter(logging.Filter):
    """Lets so many records of a library's logger pass a minute."""

    def __init__(self, *, most: int = 100, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._most, self._monotonic = most, monotonic
        self._passed, self._begun_s = 0, -_SPAN_S

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - logging's signature
        """Tell whether a record is written."""
        if (now_s := self._monotonic()) - self._begun_s >= _SPAN_S:
            self._passed, self._begun_s = 0, now_s
        self._passed += 1
        return self._passed <= self._most
