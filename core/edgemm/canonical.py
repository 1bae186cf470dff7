"""Canonical JSON (RFC 8785) and SHA-256 digests: the bytes that get hashed and signed.

msgspec and Python write the same float differently, so everything that is hashed is written here and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, TypeVar

import msgspec
import rfc8785

from edgemm.errors import MessageError

T = TypeVar("T")
DIGEST_PATTERN = r"\A[0-9a-f]{64}\Z"  # `$` would let a line feed pass
_DIGEST = re.compile(r"[0-9a-f]{64}")


def sha256(data: bytes) -> str:
    """Return the SHA-256 of `data` as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def is_digest(text: str) -> bool:
    """Tell whether `text` is 64 lower-case hex digits."""
    return _DIGEST.fullmatch(text) is not None


def encode(value: Any) -> bytes:
    """Write a message or manifest as RFC 8785 JSON.

    Raises:
        MessageError: NaN, an infinity, or an integer beyond 2**53 - 1 is in it.
    """
    try:
        return rfc8785.dumps(msgspec.to_builtins(value))
    except rfc8785.CanonicalizationError as err:
        raise MessageError(f"{type(value).__name__} cannot be written as canonical JSON: {err}") from err


def decode(data: bytes, kind: type[T], *, name: str) -> T:
    """Read canonical JSON into `kind`; `name` says in errors what was read.

    Raises:
        MessageError: not JSON, not canonical (white space, key order, doubled keys), or not of this kind.
    """
    try:
        raw = json.loads(data, parse_constant=_refuse_constant)
        if rfc8785.dumps(raw) != data:
            raise MessageError(f"{name}: expected canonical JSON (RFC 8785), found another spelling of it")
        return msgspec.convert(raw, kind)
    except (msgspec.ValidationError, rfc8785.CanonicalizationError, ValueError, RecursionError) as err:
        raise MessageError(f"{name}: {err}") from err


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
