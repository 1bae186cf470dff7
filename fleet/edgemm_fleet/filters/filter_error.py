"""The error of a filter that cannot be read: one line with the column, the text, and a caret below the place."""

from __future__ import annotations

import unicodedata

from edgemm.errors import BadRequestError, InputError

MAX_BYTES = 2000
"""The longest filter, in UTF-8."""
_BEFORE, _AFTER = 50, 30
"""How many characters of a long filter are shown around the place."""


class FilterError(InputError):
    """A filter that cannot be read; `line` is the first line alone, `column` counts characters from 1."""

    def __init__(self, message: str, *, text: str, at: int) -> None:
        self.column = at + 1
        self.line = f"filter, column {self.column}: {message}"
        super().__init__("\n".join([self.line, *_shown(text, at)]))


class FilterTooLongError(FilterError):
    """A filter of more bytes than are read; it is not shown."""

    def __init__(self, size: int) -> None:
        InputError.__init__(
            self, line := f"filter: {size:,} bytes, the limit is {MAX_BYTES:,}; label the devices that are meant"
        )
        self.column, self.line = 1, line


class RefusedFilterError(BadRequestError):
    """A request's filter that cannot be read, in one line; `column` counts its characters from 1."""

    def __init__(self, err: FilterError) -> None:
        super().__init__(err.line)
        self.column = err.column


def _shown(text: str, at: int) -> tuple[str, str]:
    start, end = max(0, at - _BEFORE), at + _AFTER
    before = ("…" if start else "") + "".join(map(_plain, text[start:at]))
    after = "".join(map(_plain, text[at:end])) + ("…" if end < len(text) else "")
    return f"  {before}{after}", f"  {' ' * sum(map(_width, before))}^"


def _plain(char: str) -> str:
    """Return a character that takes its place in a line, whatever it was."""
    return char if char.isprintable() and not unicodedata.combining(char) else "?"


def _width(char: str) -> int:
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
