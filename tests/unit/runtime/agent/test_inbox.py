"""A broker that sends without end fills no memory, and the latest of each kind is obeyed."""

from __future__ import annotations

import threading

import pytest

from edgemm.topics import Channel
from edgemm_runtime.agent.inbox import MAX_WAITING, Inbox, Received, Signal


def drain(inbox: Inbox) -> list[Signal | Received]:
    found = []
    while (item := inbox.get(0)) is not None:
        found.append(item)
    return found


def payloads(items: list[Signal | Received], channel: Channel) -> list[bytes]:
    return [item.payload for item in items if isinstance(item, Received) and item.channel is channel]


def test_what_comes_is_handed_out_in_order() -> None:
    inbox = Inbox()
    inbox.put(Signal.CONNECTED)
    inbox.receive(Channel.DESIRED, b"d1")
    inbox.receive(Channel.ACK, b"a1")
    inbox.put(Signal.STOP)
    assert drain(inbox) == [
        Signal.CONNECTED, Received(Channel.DESIRED, b"d1"), Received(Channel.ACK, b"a1"), Signal.STOP,
    ]  # fmt: skip
    assert inbox.dropped == 0


@pytest.mark.parametrize("channel", [Channel.DESIRED, Channel.ACK])
def test_of_a_flood_the_latest_are_kept(channel: Channel) -> None:
    inbox = Inbox()
    for number in range(10_000):
        inbox.receive(channel, b"%d" % number)
    assert payloads(drain(inbox), channel) == [b"%d" % n for n in range(10_000 - MAX_WAITING, 10_000)]
    assert inbox.dropped == 10_000 - MAX_WAITING


def test_a_flood_of_one_kind_drops_none_of_the_other_and_holds_up_no_signal() -> None:
    inbox = Inbox()
    inbox.receive(Channel.DESIRED, b"wanted")
    for number in range(1000):
        inbox.receive(Channel.ACK, b"%d" % number)
    inbox.put(Signal.STOP)
    for number in range(1000, 2000):
        inbox.receive(Channel.ACK, b"%d" % number)
    found = drain(inbox)
    assert payloads(found, Channel.DESIRED) == [b"wanted"]
    assert found.index(Signal.STOP) == 1 + MAX_WAITING


def test_what_waits_already_is_not_kept_twice_but_may_come_again() -> None:
    inbox = Inbox()
    for _ in range(1000):
        inbox.receive(Channel.DESIRED, b"same")
    assert payloads(drain(inbox), Channel.DESIRED) == [b"same"]
    inbox.receive(Channel.DESIRED, b"same")
    assert payloads(drain(inbox), Channel.DESIRED) == [b"same"]
    assert inbox.dropped == 0


def test_a_flood_while_the_loop_works_ends_with_the_last_message() -> None:
    inbox, found = Inbox(), []

    def flood() -> None:
        for number in range(20_000):
            inbox.receive(Channel.DESIRED, b"%d" % number)
        inbox.put(Signal.STOP)

    thread = threading.Thread(target=flood)
    thread.start()
    while (item := inbox.get(30)) is not Signal.STOP:
        assert isinstance(item, Received)
        found.append(int(item.payload))
    thread.join()
    found += [int(p) for p in payloads(drain(inbox), Channel.DESIRED)]
    assert found[-1] == 19_999
    assert found == sorted(set(found))
    assert len(found) + inbox.dropped == 20_000
