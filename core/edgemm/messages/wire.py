"""The reading and writing of messages: JSON for control, msgpack for telemetry, both with a limit of size."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from edgemm import canonical
from edgemm.errors import MessageError
from edgemm.messages.scalars import MAX_CONTROL_BYTES, MAX_TELEMETRY_BYTES, VERSION
from edgemm.messages.telemetry import Telemetry

Message = TypeVar("Message", bound=Struct)


class _VersionOnly(Struct):
    v: int


_Decoders = tuple[Callable[[bytes], Any], Callable[[bytes], Any]]
"""What reads a message, and what reads its version alone; made once, which takes as long as to read one."""


def encode_control(message: Struct) -> bytes:
    """Write a control message as canonical JSON.

    Raises:
        MessageError: it is larger than `MAX_CONTROL_BYTES`.
    """
    data = canonical.encode(message)
    if len(data) > MAX_CONTROL_BYTES:
        raise MessageError(f"{type(message).__name__}: {len(data)} bytes, the limit is {MAX_CONTROL_BYTES}")
    return data


def decode_control(data: bytes, kind: type[Message]) -> Message:
    """Read a control message.

    Raises:
        MessageError: too large, not JSON, another major version, or a field is missing or of the wrong kind.
    """
    return _decode(data, kind, _of_control(kind), limit=MAX_CONTROL_BYTES)


def encode_telemetry(message: Telemetry) -> bytes:
    """Write one telemetry window as msgpack.

    Raises:
        MessageError: it is larger than `MAX_TELEMETRY_BYTES`.
    """
    data = msgspec.msgpack.encode(message)
    if len(data) > MAX_TELEMETRY_BYTES:
        raise MessageError(f"telemetry: {len(data)} bytes, the limit is {MAX_TELEMETRY_BYTES}: shed something first")
    return data


def decode_telemetry(data: bytes) -> Telemetry:
    """Read one telemetry window.

    Raises:
        MessageError: as `decode_control`.
    """
    return _decode(data, Telemetry, _OF_TELEMETRY, limit=MAX_TELEMETRY_BYTES)


@cache
def _of_control(kind: type[Struct]) -> _Decoders:
    return msgspec.json.Decoder(kind).decode, msgspec.json.Decoder(_VersionOnly).decode


_OF_TELEMETRY: _Decoders = msgspec.msgpack.Decoder(Telemetry).decode, msgspec.msgpack.Decoder(_VersionOnly).decode


def _decode(data: bytes, kind: type[Message], decoders: _Decoders, *, limit: int) -> Message:
    if len(data) > limit:
        raise MessageError(f"{kind.__name__}: {len(data)} bytes, the limit is {limit}")
    decode, decode_version = decoders
    try:
        message: Message = decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if (found := decode_version(data).v) != VERSION:
                raise MessageError(
                    f"{kind.__name__}: message version {found}, this edgemm reads {VERSION}: upgrade it"
                ) from err
        told = err if kind is Telemetry else canonical.fault(err, data)
        raise MessageError(f"{kind.__name__}: {told}") from err
    return message
