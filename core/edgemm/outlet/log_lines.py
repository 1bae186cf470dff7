"""Lines of the log: one record is one line, whatever a device or a client wrote into it.

    log_to_stderr(level="info")

The lines of a traceback are set in, so that none of them passes for a record.
"""

from __future__ import annotations

import logging
from enum import Enum

from edgemm.outlet import escaping
from edgemm.outlet.log_events import event_of

_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_SET_IN = "    "


class LogLine(logging.Formatter):
    """Writes a record as one line, and what belongs to it below, set in."""

    def __init__(self, form: str = _FORMAT) -> None:
        super().__init__(form)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """Return the line of a record."""
        return escaping.one_line(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802 - the library's name
        """Return a traceback, set in."""
        return _set_in(super().formatException(ei))  # type: ignore[arg-type]

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - the library's name
        """Return the frames of a stack, set in."""
        return _set_in(super().formatStack(stack_info))


class LogFormat(Enum):
    """How a record is written."""

    TEXT = "text"
    JSON = "json"


class JsonLine(logging.Formatter):
    """Writes a record as one line of JSON: the event, its fields, and all of it as text (`log_events`)."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        text = record.getMessage()
        trace = self.formatException(record.exc_info) if record.exc_info else None
        return event_of(record, text=text, traceback=trace)


def log_to_stderr(*, level: str, form: LogFormat = LogFormat.TEXT) -> list[logging.Handler]:
    """Write this process's log to stderr; return the handlers that this added.

    None is added to a program that runs a command in its own process and logs already.
    """
    root = logging.getLogger()
    if root.handlers:
        return []
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLine() if form is LogFormat.JSON else LogLine())
    root.addHandler(handler)
    root.setLevel(level.upper())
    return [handler]


def plain_last_resort() -> None:
    """Have what is logged in a process that set up no log, a library's warning for one, printed as plain lines."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LogLine("%(message)s"))


def _set_in(text: str) -> str:
    return "\n".join(_SET_IN + escaping.one_line(line) for line in text.splitlines())
