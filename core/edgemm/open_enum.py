"""The open enum: words of a durable format, of which a later minor version may have more.

    class Stream(OpenEnum):
        EVENT = "event"

    Stream("event") is Stream.EVENT
    Stream("trace").known            # False, and str() gives "trace"

A word that is not known here is a value of its own: it keeps its text, is written back as it came, equals no member
and is never listed. One of them therefore never makes a document unreadable. Whoever acts on a word says what an
unknown one means: it is shown, skipped, ignored or refused by itself, and where it restricts, it closes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

MAX_WORD = 128
"""Characters of an unknown word; a longer one is no word, and is refused along with its document."""


class OpenEnum(StrEnum):
    """Base of every enum in a bundle, a message, a state file, a database or TUF custom data."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str) or len(value) > MAX_WORD:
            return None
        word = str.__new__(cls, value)
        word._name_ = ""
        word._value_ = value
        return word

    @property
    def known(self) -> bool:
        """Tell whether this version of edgemm knows the word."""
        return self._name_ != ""
