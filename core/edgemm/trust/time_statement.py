"""Statements of time: a fleet manager's signed answer to one question of one device, and the messages for both.

    nonce = new_nonce()                         # in the device, for one question
    POST TIME_PATH TimeQuestion(nonce=nonce)    # over the pinned connection
    statement = read_statement(answer, fleet=…, nonce=nonce, keys=…, threshold=…)

The key of TUF's timestamp role signs the statement, in an envelope of a type of its own. A statement is good for the
nonce that it repeats, and so for one question: whoever recorded others has nothing. `ISSUED` is the field of TUF's root
and targets metadata that bounds how low a statement may take a device's time.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from securesystemslib.signer import Key

from edgemm import times
from edgemm.errors import MessageError, TrustError
from edgemm.times import TimeText
from edgemm.topics import FleetName
from edgemm.trust.signing import PayloadType, unseal

TIME_PATH = "/api/v1/time"
MAX_STATEMENT_BYTES = 4096
"""Of an answer, envelope and all; one is about 400 bytes."""
ISSUED = "x-edgemm-issued"
"""The field of root and targets, signed with them, that says when they were signed."""
_NONCE_BYTES = 16
Nonce = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]


class TimeQuestion(Struct, frozen=True, kw_only=True):
    """`POST /api/v1/time`: a device asks for the time."""

    v: Literal[1] = 1
    nonce: Nonce


class TimeStatement(Struct, frozen=True, kw_only=True):
    """The fleet's time when the question with this nonce was answered."""

    v: Literal[1] = 1
    fleet: FleetName
    nonce: Nonce
    time: TimeText


def new_nonce() -> str:
    """Return a nonce that nobody can know, for one question."""
    return secrets.token_hex(_NONCE_BYTES)


def read_statement(data: bytes, *, fleet: str, nonce: str, keys: Sequence[Key], threshold: int) -> int:
    """Return the time that a statement tells, in seconds since the Unix epoch.

    Raises:
        MessageError: it is no statement of time.
        TrustError: the keys of the timestamp role did not sign it, or it answers another question.
    """
    statement = unseal(data, PayloadType.TIME, TimeStatement, keys=keys, threshold=threshold)
    if (statement.fleet, statement.nonce) != (fleet, nonce):
        raise TrustError("statement of time: it answers another question than this device has asked")
    try:
        return times.from_text(statement.time)
    except ValueError as err:
        raise MessageError(f"statement of time: a date that is none: {err}") from err


def issue_time_s(unrecognized: dict[str, Any]) -> int:
    """Return when metadata was signed, from its fields that TUF does not know; 0 where it does not say."""
    found = unrecognized.get(ISSUED)
    try:
        return max(0, times.from_text(found)) if isinstance(found, str) else 0
    except ValueError:
        return 0
