"""The packets of MQTT 3.1.1 that are many, read from what a socket gave, or made: messages and confirmations. Pure.

What is not whole yet, or of another kind, is left where it is, and all behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Taken = tuple[str, bytes, bool]
"""A topic, the payload, and whether the broker had retained it."""
_PUBLISH, _QOS_1, _RETAINED, _QOS_BITS, _KIND = 0x30, 0x02, 0x01, 0x06, 0xF0
_PUBACK, _PUBACK_HEAD, _PUBACK_BYTES = 0x40, b"\x40\x02", 4
_MORE = 0x80
"""Of a byte of a packet's length: another one follows."""
_LONGEST = 4
"""Bytes of a packet's length."""


@dataclass
class WholePackets:
    """What was found."""

    end: int
    """Where it ends, and the rest begins."""
    messages: list[Taken] = field(default_factory=list)
    """Those of QoS 0 and 1, in their order."""
    confirmations: bytearray = field(default_factory=bytearray)
    """The PUBACKs to send for them."""
    confirmed: list[int] = field(default_factory=list)
    """The ids of our own messages that were confirmed."""


def whole_packets(data: bytes, start: int) -> WholePackets:
    """Return the messages and confirmations at the beginning of data, from `start` on, that are whole."""
    found, size = WholePackets(start), len(data)
    messages, at = found.messages, start
    while at + 1 < size:
        head, length, body = data[at], data[at + 1], at + 2
        if length >= _MORE:
            if (longer := _length(data, at + 1)) is None:
                break
            length, body = longer
        if (end := body + length) > size:
            break
        kind, qos = head & _KIND, head & _QOS_BITS
        if kind == _PUBLISH and qos <= _QOS_1:
            topic_end = body + 2 + (data[body] << 8 | data[body + 1]) if length > 1 else end + 1
            payload = topic_end + qos  # an id has two bytes, as QoS 1 has the value of two
            if payload > end:
                break
            try:
                topic = data[body + 2 : topic_end].decode()
            except UnicodeDecodeError:
                break
            messages.append((topic, data[payload:end], head & _RETAINED == _RETAINED))
            if qos:
                found.confirmations += _PUBACK_HEAD + data[topic_end:payload]
        elif head == _PUBACK and length == _PUBACK_BYTES - 2:
            found.confirmed.append(data[body] << 8 | data[body + 1])
        else:
            break
        at = end
    found.end = at
    return found


def publish_packet(topic: str, payload: bytes, message_id: int) -> bytes:
    """Return the packet of a message by QoS 1."""
    name = topic.encode()
    length, sizes = len(name) + len(payload) + 4, bytearray()
    while length >= _MORE:
        sizes.append(length % _MORE | _MORE)
        length //= _MORE
    sizes.append(length)
    head = bytes((_PUBLISH | _QOS_1, *sizes))
    return b"".join((head, len(name).to_bytes(2, "big"), name, message_id.to_bytes(2, "big"), payload))


def _length(data: bytes, at: int) -> tuple[int, int] | None:
    """Return the length of a packet's body, and where that begins; None where it is not there yet, or is too long."""
    length = 0
    for number in range(min(_LONGEST, len(data) - at)):
        byte = data[at + number]
        length |= (byte & ~_MORE) << (7 * number)
        if byte < _MORE:
            return length, at + number + 1
    return None
