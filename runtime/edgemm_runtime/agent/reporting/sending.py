"""Spooled telemetry as it is sent: the bytes that were encoded once, with today's floor between them. Pure."""

from __future__ import annotations

import msgspec

from edgemm.errors import MessageError
from edgemm.messages import MAX_TELEMETRY_BYTES, decode_telemetry
from edgemm_runtime.agent.spool.spool import Spooled

_BOOT, _SEQUENCE, _FLOOR = "b", "n", "f"


def telemetry_payload(waiting: Spooled) -> bytes:
    """Return a spooled window as it is sent now: only its floor is another one.

    What storage gave back is read as a whole, for storage may have changed it.

    Raises:
        MessageError: it cannot be read, it is too large, or it is another one than its row says.
    """
    if waiting.stored:
        decode_telemetry(waiting.body)
    try:
        fields = msgspec.msgpack.decode(waiting.body, type=dict[str, msgspec.Raw])
        boot = msgspec.msgpack.decode(fields[_BOOT], type=bytes).hex()
        sequence = msgspec.msgpack.decode(fields[_SEQUENCE], type=int)
    except (msgspec.DecodeError, KeyError, UnicodeDecodeError, RecursionError) as err:
        raise MessageError(f"spooled message {waiting.id} of {waiting.stream.value}: {err}") from err
    if (boot, sequence) != (waiting.boot, waiting.sequence):
        raise MessageError(
            f"spooled message {waiting.id}: expected {waiting.boot} {waiting.sequence} in it, found {boot} {sequence}"
        )
    fields[_FLOOR] = msgspec.Raw(msgspec.msgpack.encode(waiting.floor))
    payload = msgspec.msgpack.encode(fields)
    if len(payload) > MAX_TELEMETRY_BYTES:
        raise MessageError(f"telemetry: {len(payload)} bytes, the limit is {MAX_TELEMETRY_BYTES}")
    return payload
