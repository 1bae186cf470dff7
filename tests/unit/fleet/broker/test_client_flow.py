from __future__ import annotations

import asyncio

import pytest

from edgemm_fleet.broker.client_flow import ClientFlow, PacketReader, WholeFlow
from simulators.mqtt_packets import publish_packet

SIZE = 30_000


def feed(*packets: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    for packet in packets:
        reader.feed_data(packet)
    return reader


def test_pieces_of_a_packet_are_handed_out_as_they_are_asked_for() -> None:
    async def read() -> list[bytes]:
        packet = publish_packet("a/b", b"payload", qos=1, message_id=7)
        reader = PacketReader(feed(packet, packet), ClientFlow(WholeFlow()))
        return [await reader.read(size) for size in (1, 1, 0, len(packet) - 2, len(packet))]

    first, length, nothing, rest, again = asyncio.run(read())
    assert (first, nothing) == (b"\x32", b"")
    assert first + length + rest == again


@pytest.mark.parametrize("head", [b"\x30\xff\xff\xff\x7f", b"\x30\xff\xff\xff\xff\x01", b"\x82\x81\x80\x04"])
def test_a_packet_that_is_too_large_ends_the_connection_before_it_is_read(head: bytes) -> None:
    async def read() -> None:
        reader = PacketReader(feed(head), ClientFlow(WholeFlow()))
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                await reader.read(1)

    asyncio.run(read())


def test_a_client_waits_while_too_much_of_it_is_under_way_and_no_other_does() -> None:
    async def flood() -> None:
        whole = WholeFlow()
        bad, good, sent = ClientFlow(whole), ClientFlow(whole), []
        while whole.size < whole.client_bytes:
            bad.began(SIZE)
            sent.append(asyncio.get_running_loop().create_future())
            bad.passed_on(SIZE, [sent[-1]])
        turn = asyncio.create_task(bad.turn())
        await good.turn()
        await asyncio.sleep(0)
        assert not turn.done()
        sent[0].set_result(None)
        await turn
        bad.close()
        assert whole.size == 0, "what is under way of a client that is gone counts no longer"
        sent[1].set_result(None)
        await asyncio.sleep(0)
        assert whole.size == 0

    asyncio.run(flood())


def test_packets_that_are_not_answered_hold_up_their_client() -> None:
    async def flood() -> None:
        flow = ClientFlow(WholeFlow())
        for _ in range(256):
            flow.came(12)
        turn = asyncio.create_task(flow.turn())
        await asyncio.sleep(0)
        assert not turn.done()
        flow.answered()
        await turn

    asyncio.run(flood())
