"""Acknowledgements that come twice, late, out of order, never, or speak of what never was, over a real Mosquitto."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgemm.messages import Stream, StreamAck, Telemetry
from edgemm.topics import Channel
from simulators.agent import QUICK_LIMITS, AgentInThread
from simulators.mosquitto_fleet import MosquittoFleet

pytestmark = [pytest.mark.slow, pytest.mark.service]
WINDOWS = 40
LAST = 2**53 - 1
LIMITS = replace(QUICK_LIMITS, telemetry_interval_s=0.01, resend_after_s=0.3)


@pytest.fixture
def fleet(tmp_path: Path, mosquitto: Path) -> Iterator[MosquittoFleet]:
    """A fleet that hears everything and acknowledges nothing by itself."""
    with MosquittoFleet(mosquitto, tmp_path) as fleet:
        fleet.acknowledge = False
        yield fleet
        assert not fleet.problems


@pytest.fixture
def agent(fleet: MosquittoFleet, tmp_path: Path) -> Iterator[AgentInThread]:
    """A device that has sent some windows, all of which wait for their acknowledgement."""
    with AgentInThread(fleet, tmp_path / "device", limits=LIMITS) as agent:
        fleet.wait_for(lambda: fleet.windows(agent.device) >= WINDOWS)
        yield agent


def test_what_cannot_be_true_drops_nothing(fleet: MosquittoFleet, agent: AgentInThread) -> None:
    boot = fleet.reported[agent.device].boot
    for ack in (
        StreamAck(boot=boot, stream=Stream.TELEMETRY, sequence=LAST),  # never sent
        StreamAck(boot=boot, stream=Stream.EVENT, sequence=WINDOWS),  # a number of the other stream
        StreamAck(boot="0" * 16, stream=Stream.TELEMETRY, sequence=LAST),  # a start that never was
        StreamAck(boot=boot, stream=Stream.TELEMETRY, sequence=0),  # nothing
    ):
        fleet.say(agent.device, ack, ack)
    for payload in (b"", b"{}", b'{"v":1,"acks":[]}', b"\xff\xfe"):
        fleet.send(agent.device, Channel.ACK, payload)
    _acknowledge(fleet, agent, 1)
    assert _held(fleet)[: WINDOWS - 1] == list(range(2, WINDOWS + 1))


def test_doubled_reordered_and_lost_ones_drop_what_they_say_and_in_the_end_all(
    fleet: MosquittoFleet, agent: AgentInThread
) -> None:
    boot = fleet.reported[agent.device].boot
    for sequence in (20, 10, 20, 1):  # 1 to 9 and 11 to 19 were lost, 10 and 1 come late
        fleet.say(agent.device, StreamAck(boot=boot, stream=Stream.TELEMETRY, sequence=sequence))
    _acknowledge(fleet, agent, 21)
    assert _held(fleet)[: WINDOWS - 21] == list(range(22, WINDOWS + 1))

    fleet.acknowledge = True
    fleet.wait_for(lambda: _windows(fleet)[-1].spool.waiting <= 2)
    heard = _windows(fleet)
    assert [window.sequence for window in heard] == list(range(22, 22 + len(heard)))
    assert heard[-1].sequence > WINDOWS
    assert {window.spool.dropped for window in heard} == {0}


def _acknowledge(fleet: MosquittoFleet, agent: AgentInThread, sequence: int) -> None:
    """Acknowledge windows up to one, and wait until the device has heard that, and so all that was said before it."""
    boot = fleet.reported[agent.device].boot
    fleet.say(agent.device, StreamAck(boot=boot, stream=Stream.TELEMETRY, sequence=sequence))
    fleet.wait_for(lambda: max(window.floor for window in _windows(fleet)) > sequence)


def _held(fleet: MosquittoFleet) -> list[int]:
    """Return the numbers of the windows that the device still holds: those that it sends again and again."""
    fleet.telemetry.clear()
    enough = fleet.heard + 2 * LIMITS.in_flight_messages + 1
    fleet.wait_for(lambda: fleet.heard > enough)  # in so many, all that it sends at a time came at least once
    return [window.sequence for window in _windows(fleet)]


def _windows(fleet: MosquittoFleet) -> list[Telemetry]:
    """Return what was heard of the one device, in order."""
    return sorted(fleet.telemetry.values(), key=lambda window: window.sequence)
