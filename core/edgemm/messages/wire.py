"""The reading and writing of messages: JSON for control, msgpack for telemetry, both with a limit of size."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
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
    return _decode(data, kind, limit=MAX_CONTROL_BYTES, decoder=msgspec.json.decode)


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
    return _decode(data, Telemetry, limit=MAX_TELEMETRY_BYTES, decoder=msgspec.msgpack.decode)


def _decode(data: bytes, kind: type[Message], *, limit: int, decoder: Callable[..., Any]) -> Message:
    if len(data) > limit:
        raise MessageError(f"{kind.__name__}: {len(data)} bytes, the limit is {limit}")
    try:
        message: Message = decoder(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if (found := decoder(data, type=_VersionOnly).v) != VERSION:
                raise MessageError(
                    f"{kind.__name__}: message version {found}, this edgemm reads {VERSION}: upgrade it"
                ) from err
        raise MessageError(f"{kind.__name__}: {err}") from err
    return message
