"""The packets of MQTT 3.1.1, as bytes, for clients that speak it over sockets of their own. Pure."""

from __future__ import annotations

from enum import IntEnum

_MAX_LENGTH_BYTES = 4
Will = tuple[str, bytes]
"""Topic and payload of a last will, which is retained, with QoS 1."""


class PacketType(IntEnum):
    """The upper half of a packet's first byte, of those that a broker sends."""

    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBACK = 9
    PINGRESP = 13


PINGREQ = bytes([0xC0, 0])
DISCONNECT = bytes([0xE0, 0])


def connect_packet(client_id: str, login: tuple[str, str], *, keepalive_s: int = 60, will: Will | None = None) -> bytes:
    """Return a CONNECT with a clean session."""
    flags = 0b1100_0010 if will is None else 0b1110_1110
    parts = [
        client_id.encode(),
        *(() if will is None else (will[0].encode(), will[1])),
        *(one.encode() for one in login),
    ]
    body = _text("MQTT") + bytes([4, flags]) + keepalive_s.to_bytes(2, "big") + b"".join(map(_counted, parts))
    return bytes([0x10]) + length(len(body)) + body


def publish_packet(topic: str, payload: bytes, *, qos: int, message_id: int, retain: bool = False) -> bytes:
    """Return a PUBLISH."""
    body = _text(topic) + (message_id.to_bytes(2, "big") if qos else b"") + payload
    return bytes([0x30 | qos << 1 | retain]) + length(len(body)) + body


def subscribe_packet(message_id: int, *filters: str) -> bytes:
    """Return a SUBSCRIBE with QoS 1."""
    body = message_id.to_bytes(2, "big") + b"".join(_text(one) + b"\1" for one in filters)
    return bytes([0x82]) + length(len(body)) + body


def puback_packet(message_id: int) -> bytes:
    """Return a PUBACK."""
    return b"\x40\x02" + message_id.to_bytes(2, "big")


def length(number: int) -> bytes:
    """Return the remaining length of a packet as it is written."""
    found = bytearray()
    while True:
        number, digit = divmod(number, 128)
        found.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(found)


def split(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Return the whole packets at the beginning of what came, each its first byte and its body, and what is left.

    Raises:
        ValueError: it is no MQTT.
    """
    found, at, end = list[tuple[int, bytes]](), 0, len(data)
    while at + 2 <= end:
        size, shift, place = 0, 0, at + 1
        while place < end and data[place] & 0x80:
            size |= (data[place] & 0x7F) << shift
            shift, place = shift + 7, place + 1
        if place - at > _MAX_LENGTH_BYTES:
            raise ValueError("a remaining length of more than 4 bytes")
        if place >= end:
            break
        size |= data[place] << shift
        if place + 1 + size > end:
            break
        found.append((data[at], data[place + 1 : place + 1 + size]))
        at = place + 1 + size
    return found, data[at:] if at else data


def published(first: int, body: bytes) -> tuple[str, bytes, int, bool]:
    """Return topic, payload, message id (0 by QoS 0) and whether it was retained, of a PUBLISH."""
    size = 2 + int.from_bytes(body[:2], "big")
    topic = body[2:size].decode()
    if not first & 0b0110:
        return topic, body[size:], 0, bool(first & 1)
    return topic, body[size + 2 :], int.from_bytes(body[size : size + 2], "big"), bool(first & 1)


def _text(text: str) -> bytes:
    return _counted(text.encode())


def _counted(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data
