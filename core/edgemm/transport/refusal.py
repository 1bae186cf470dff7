"""The refusals of a fleet manager's HTTP API, as the server writes them and its clients read them. Pure."""

from __future__ import annotations

import msgspec
from msgspec import Struct


class ErrorDetail(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong: a code for programs, a message and the next step for people.

    `column` is where in a filter it is, in characters from 1.
    """

    code: str
    message: str
    hint: str
    column: int | None = None


class ErrorAnswer(Struct, frozen=True, kw_only=True):
    """The body of every answer with a status of 400 or above."""

    error: ErrorDetail


NOT_OURS = ErrorDetail(code="", message="", hint="")
"""What is read in a refusal that no fleet manager wrote."""


def read_refusal(body: bytes) -> ErrorDetail:
    """Return what a refusal says; `NOT_OURS` where something else than a fleet manager refused."""
    try:
        return msgspec.json.decode(body, type=ErrorAnswer).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return NOT_OURS
