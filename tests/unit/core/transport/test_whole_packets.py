from __future__ import annotations

import random

import pytest

from edgemm.transport.whole_packets import publish_packet, whole_packets

SUBACK, PINGRESP = b"\x90\x03\x00\x01\x00", b"\xd0\x00"


def publish(topic: bytes, payload: bytes, *, qos: int = 0, retained: bool = False, number: int = 7) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + (number.to_bytes(2, "big") if qos else b"") + payload
    length, sizes = len(body), []
    while True:
        sizes.append(length % 128 | (128 if length > 127 else 0))
        length //= 128
        if not length:
            return bytes([0x30 | qos << 1 | retained, *sizes]) + body


def test_messages_come_in_their_order_with_what_confirms_them() -> None:
    data = publish(b"a/b", b"", retained=True) + publish("ä".encode(), b"x" * 300, qos=1, number=513)
    found = whole_packets(data + b"\x40\x02\x01\x02", 0)
    assert found.messages == [("a/b", b"", True), ("ä", b"x" * 300, False)]
    assert bytes(found.confirmations) == b"\x40\x02\x02\x01"
    assert found.confirmed == [258]
    assert found.end == len(data) + 4


@pytest.mark.parametrize(
    "other",
    [
        SUBACK,
        PINGRESP,
        publish(b"twice", b"x", qos=2),
        publish(b"\xff", b"no text"),
        b"\x30\x00",
        b"\x30\x01\x00",
        b"\x30\x03\x00\x09a",  # the topic is longer than the packet
        b"\x32\x04\x00\x02ab",  # no room for the id
        b"\x40\x00",
        b"\x40\x03\x00\x01\x00",
        b"\x30\xff\xff\xff\xff\x01",
        b"\x00\x00",
    ],
)
def test_what_is_another_or_none_stays_with_all_behind_it(other: bytes) -> None:
    data = publish(b"t", b"1")
    found = whole_packets(data + other + data, 0)
    assert (found.messages, found.end) == ([("t", b"1", False)], len(data))


@pytest.mark.parametrize("seed", range(5))
def test_wherever_what_came_is_cut_nothing_is_lost_or_doubled(seed: int) -> None:
    draw = random.Random(seed)
    sent = [(f"t/{n}", bytes([n]) * draw.choice((0, 1, 100, 128, 5000, 20_000)), draw.randrange(2)) for n in range(60)]
    data = b"".join(publish(topic.encode(), payload, qos=qos) for topic, payload, qos in sent)
    for _ in range(20):
        messages, rest, at = [], b"", 0
        while at < len(data):
            size = draw.choice((1, 2, 3, 50, 4000, 70_000))
            rest, at = rest + data[at : at + size], at + size
            found = whole_packets(b"before" + rest, 6)
            messages += found.messages
            rest = rest[found.end - 6 :]
        assert messages == [(topic, payload, False) for topic, payload, _ in sent]
        assert not rest


@pytest.mark.parametrize("size", [0, 1, 120, 121, 128, 16_376, 16_384, 100_000, 2_097_200])
def test_a_packet_that_is_made_is_read_back(size: int) -> None:
    found = whole_packets(publish_packet("a/b", b"x" * size, 513), 0)
    assert found.messages == [("a/b", b"x" * size, False)]
    assert bytes(found.confirmations) == b"\x40\x02\x02\x01"


def test_a_length_is_not_there_before_all_its_bytes_are() -> None:
    data = publish(b"t", b"x" * 20_000)
    assert [whole_packets(data[:size], 0).end for size in (0, 1, 2, 3, 4, 1000, len(data) - 1)] == [0] * 7
    assert whole_packets(data, 0).end == len(data)
