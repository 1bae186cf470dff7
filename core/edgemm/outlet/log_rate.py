"""The rate of log lines: of each kind at most so many a minute, and then how many more there were.

    set_up_logging(level="info")

A kind is a logger with the template of its message. What any client can cause again and again fills no journal so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgemm.outlet.log_lines import LogFormat, log_to_stderr

_MOST = 10
"""A minute, of a device."""
_PER_S = 60.0
_MOST_KINDS = 1024
_LONGEST = 400


def set_up_logging(
    *, level: str, most: int = _MOST, least: int = logging.NOTSET, form: LogFormat = LogFormat.TEXT
) -> None:
    """Write this process's log to stderr, with at most `most` lines of each kind a minute from the level `least` on."""
    for handler in log_to_stderr(level=level, form=form):
        handler.addFilter(LogRate(handler.emit, most=most, least=least))


@dataclass
class _Minute:
    """Lines of one kind since the first of them."""

    begun_s: float
    level: int
    last: str = ""
    """Text, since a record holds a request's frames."""
    written: int = 0
    left_out: int = 0


class LogRate(logging.Filter):
    """A filter of one handler, to which `emit` writes the counts; safe to use from many threads."""

    def __init__(
        self,
        emit: Callable[[logging.LogRecord], None],
        *,
        most: int = _MOST,
        least: int = logging.NOTSET,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._emit, self._most, self._least, self._now_s = emit, most, least, now_s
        self._lock = threading.RLock()
        self._minutes: dict[tuple[str, str], _Minute] = {}
        self._timer: threading.Timer | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is written."""
        if record.levelno < self._least:
            return True
        kind, now_s = (record.name, str(record.msg)), self._now_s()
        with self._lock:
            minute = self._minutes.get(kind)
            if minute is None or now_s - minute.begun_s >= _PER_S:
                self.flush(now_s)
                if len(self._minutes) >= _MOST_KINDS:
                    self.flush(now_s + _PER_S)
                minute = self._minutes[kind] = _Minute(now_s, record.levelno)
            if minute.written < self._most:
                minute.written += 1
                return True
            minute.left_out, minute.last = minute.left_out + 1, record.getMessage()[:_LONGEST]
            if self._timer is None:
                self._wait()
            return False

    def flush(self, now_s: float) -> None:
        """Write the counts of all minutes that are over by `now_s`, and forget them."""
        with self._lock:
            over = {kind: one for kind, one in self._minutes.items() if now_s - one.begun_s >= _PER_S}
            for kind, minute in over.items():
                del self._minutes[kind]
                if minute.left_out:
                    self._emit(_count(kind[0], minute))

    def _flush_late(self) -> None:
        with self._lock:
            self._timer = None
            self.flush(self._now_s())
            if any(minute.left_out for minute in self._minutes.values()):
                self._wait()

    def _wait(self) -> None:
        self._timer = threading.Timer(_PER_S, self._flush_late)
        self._timer.daemon = True
        self._timer.start()


def _count(name: str, minute: _Minute) -> logging.LogRecord:
    """Return the line that stands for those left out: their number, and the last of them."""
    args = (minute.left_out, _PER_S, minute.last)
    return logging.LogRecord(
        name, minute.level, __file__, 0, "%d more such lines within %.0f s, the last: %s", args, None
    )
