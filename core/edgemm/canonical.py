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
_SORTED = msgspec.json.Encoder(order="sorted")
_MOST_INTEGER = 2**53 - 1
_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_HIGH, _LOW = range(0xD800, 0xDC00), range(0xDC00, 0xE000)
"""Halves of surrogate pairs, in the order in which they make a character."""


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
    plain = msgspec.to_builtins(value)
    try:
        try:
            return _SORTED.encode(_spelled(plain))
        except (_UnusualError, UnicodeEncodeError):
            return rfc8785.dumps(plain)
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
        raise MessageError(f"{name}: {fault(err, data)}") from err


def fault(err: Exception, data: bytes) -> str:
    """Return what is wrong with JSON of which decoding raised `err`, where the parser's own words mislead.

    Of half a surrogate pair msgspec says that the data were cut short.
    """
    if isinstance(err, RecursionError):
        return "found lists or objects nested too deep"
    if isinstance(err, msgspec.ValidationError):
        return str(err)
    if isinstance(err, UnicodeDecodeError):
        return "found bytes that are no UTF-8"
    if (found := lone_surrogate(data)) is not None:
        return f"found {found[0]} at byte {found[1]}, a lone surrogate, which is no character"
    return str(err)


def lone_surrogate(data: bytes) -> tuple[str, int] | None:
    """Return the first escape of JSON that is half a surrogate pair, and where it begins; None: there is none."""
    high: re.Match[bytes] | None = None
    for one in _ESCAPE.finditer(data):
        code = int(one[1], 16) if one[1] else 0
        follows = high is not None and high.end() == one.start() and code in _LOW
        if high is not None and not follows:
            break
        if code in _LOW and not follows:
            high = one
            break
        high = one if code in _HIGH else None
    return None if high is None else (high[0].decode(), high.start())


def _spelled(value: Any) -> Any:
    """Return plain JSON that msgspec writes as RFC 8785 has it: with floats as they are to be spelled.

    Strings and integers it writes alike, and sorts names alike as long as they are ASCII.

    Raises:
        _UnusualError: not all of it.
        CanonicalizationError: a float that there is no spelling of.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int and -_MOST_INTEGER <= value <= _MOST_INTEGER:
        return value
    if kind is float:
        return msgspec.Raw(rfc8785.dumps(value))
    if kind is dict:
        if not all(type(name) is str and name.isascii() for name in value):
            raise _UnusualError
        return {name: _spelled(part) for name, part in value.items()}
    if kind is list or kind is tuple:
        return [_spelled(part) for part in value]
    raise _UnusualError


class _UnusualError(Exception):
    """Something that is left to rfc8785, which is slower by far."""


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
