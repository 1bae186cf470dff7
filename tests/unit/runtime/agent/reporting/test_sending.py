from __future__ import annotations

import msgspec
import pytest

from edgemm.errors import MessageError
from edgemm.messages import MAX_TELEMETRY_BYTES, SpoolGauges, Stream, Telemetry, decode_telemetry, encode_telemetry
from edgemm_runtime.agent.reporting.sending import telemetry_payload
from edgemm_runtime.agent.spool.spool import Spooled

BOOT = "0123456789abcdef"
WINDOW = Telemetry(
    boot=bytes.fromhex(BOOT), sequence=7, floor=1, time_s=5, uptime_s=4, spool=SpoolGauges(waiting=1, dropped=0)
)


def _spooled(body: bytes, *, floor: int = 1, sequence: int = 7, stored: bool = False) -> Spooled:
    return Spooled(3, BOOT, 1, Stream.TELEMETRY, sequence, floor, body, stored)


def test_what_was_encoded_once_is_what_is_sent() -> None:
    body = encode_telemetry(WINDOW)
    assert telemetry_payload(_spooled(body)) == body


@pytest.mark.parametrize("floor", [1, 200, 2**53 - 1])
def test_the_floor_alone_is_of_today(floor: int) -> None:
    sent = telemetry_payload(_spooled(encode_telemetry(WINDOW), floor=floor))
    assert decode_telemetry(sent) == msgspec.structs.replace(WINDOW, floor=floor)


def test_what_a_later_version_spooled_is_sent_whole() -> None:
    fields = msgspec.msgpack.decode(encode_telemetry(WINDOW)) | {"z": [1, "later"]}
    sent = telemetry_payload(_spooled(msgspec.msgpack.encode(fields), floor=6, stored=True))
    assert msgspec.msgpack.decode(sent) == fields | {"f": 6}


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        encode_telemetry(WINDOW)[:-1],
        encode_telemetry(WINDOW) + b"\x00",
        msgspec.msgpack.encode({"v": 1}),
        encode_telemetry(msgspec.structs.replace(WINDOW, sequence=8)),
        encode_telemetry(msgspec.structs.replace(WINDOW, boot=bytes(8))),
    ],
)
def test_what_is_no_window_or_another_one_is_not_sent(body: bytes, *, stored: bool) -> None:
    with pytest.raises(MessageError):
        telemetry_payload(_spooled(body, stored=stored))


def test_what_storage_changed_within_a_window_is_not_sent() -> None:
    fields = msgspec.msgpack.decode(encode_telemetry(WINDOW))
    with pytest.raises(MessageError):
        telemetry_payload(_spooled(msgspec.msgpack.encode(fields | {"u": "late"}), stored=True))


def test_a_window_that_grew_too_large_is_not_sent() -> None:
    fields = msgspec.msgpack.decode(encode_telemetry(WINDOW))
    with pytest.raises(MessageError, match="the limit is"):
        telemetry_payload(_spooled(msgspec.msgpack.encode(fields | {"z": bytes(MAX_TELEMETRY_BYTES)})))
