"""A whole agent and a fleet manager, or a broker, that never stops: how many messages the device is drawn into.

Counted over seconds of real time with messages as fast as they go. The bounds are upper ones: a slow machine sends
fewer.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner

from edgemm import times
from edgemm.messages import Ack, Desired, Stream, StreamAck, encode_control
from edgemm.messages.generations import of_time
from edgemm.topics import Channel
from edgemm.trust.signing import PayloadType, seal
from simulators.agent import QUICK_LIMITS, AgentInThread
from simulators.fleet import SimulatedFleet
from simulators.waiting import eventually

pytestmark = [pytest.mark.runtime, pytest.mark.slow]
WATCHED_S = 2.5
PAUSE_S = 0.01
LEAST = 20
"""So many messages, however slow the machine is."""
WEEK_S = 7 * 86400
LIMITS = replace(QUICK_LIMITS, telemetry_interval_s=3600.0, resend_after_s=30.0)


class CountingFleet(SimulatedFleet):
    """Counts what it hears by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[Channel] = Counter()

    def _store(self, address: object, payload: bytes) -> None:
        self.counts[address.channel] += 1  # type: ignore[attr-defined]
        super()._store(address, payload)  # type: ignore[arg-type]


@pytest.fixture
def fleet() -> Iterator[CountingFleet]:
    with CountingFleet() as fleet:
        yield fleet
        assert not fleet.problems


@pytest.fixture
def agent(fleet: CountingFleet, tmp_path: Path) -> Iterator[AgentInThread]:
    """A device that was told generation 1,000,000 of nothing, and whose events are stored."""
    with AgentInThread(fleet, tmp_path / "device", limits=LIMITS) as agent:
        fleet.desire(agent.device, generation=1_000_000)
        fleet.wait_for(lambda: agent.device in fleet.reported and fleet.reported[agent.device].generation == 1_000_000)
        eventually(lambda: not agent.agent._spool.after(0, limit=1), "its events are stored")
        yield agent


def desired(agent: AgentInThread, number: int, *, ahead_s: float = 0.0, **fields: object) -> Desired:
    values = {
        "fleet": "home",
        "device": agent.device,
        "generation": 1_000_001,
        "not_before": times.to_text(time.time() + ahead_s - 3600),
        "expires": times.to_text(time.time() + ahead_s + WEEK_S + number),
    }
    return msgspec.convert(values | fields, Desired)


Sent = Callable[[SimulatedFleet, AgentInThread, int], tuple[Channel, bytes]]


def signed(**fields: object) -> Sent:
    def made(fleet: SimulatedFleet, agent: AgentInThread, number: int) -> tuple[Channel, bytes]:
        told = desired(agent, number, **fields)  # type: ignore[arg-type]
        return Channel.DESIRED, seal(told, PayloadType.DESIRED, fleet.director)

    return made


def forged(_fleet: SimulatedFleet, agent: AgentInThread, number: int) -> tuple[Channel, bytes]:
    told = desired(agent, number, generation=1_000_000 + number)
    return Channel.DESIRED, seal(told, PayloadType.DESIRED, CryptoSigner.generate_ed25519())


def known(fleet: SimulatedFleet, agent: AgentInThread, _number: int) -> tuple[Channel, bytes]:
    return Channel.DESIRED, seal(fleet._desired[agent.device], PayloadType.DESIRED, fleet.director)


def garbage(_fleet: SimulatedFleet, _agent: AgentInThread, number: int) -> tuple[Channel, bytes]:
    return Channel.DESIRED, secrets.token_bytes(number % 4096 + 1)


def too_large(_fleet: SimulatedFleet, _agent: AgentInThread, number: int) -> tuple[Channel, bytes]:
    return Channel.DESIRED, b"x" * (40_000 + number)


def acks(fleet: SimulatedFleet, agent: AgentInThread, number: int) -> tuple[Channel, bytes]:
    boot = fleet.reported[agent.device].boot
    stream = (Stream.EVENT, Stream.TELEMETRY)[number % 2]
    return Channel.ACK, encode_control(Ack(acks=(StreamAck(boot=boot, stream=stream, sequence=number % 7),)))


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (signed(generation=1_000_000, actions=[{"id": "x", "kind": "prune"}]), "desired_conflict"),
        (signed(ahead_s=-2 * WEEK_S), "desired_expired"),
        (signed(ahead_s=WEEK_S), "desired_too_early"),
        (signed(generation=2**53 - 1), "desired_implausible"),
        (signed(generation=of_time(time.time() + 1e9)), "desired_implausible"),
        (signed(device="another"), "desired_foreign"),
        (signed(generation=7), None),
        (forged, "desired_untrusted"),
        (garbage, "desired_untrusted"),
        (too_large, "desired_untrusted"),
        (known, None),
        (acks, None),
    ],
    ids=[
        "conflict",
        "expired",
        "too-early",
        "highest",
        "far-ahead",
        "foreign",
        "older",
        "forged",
        "garbage",
        "too-large",
        "known",
        "acks",
    ],
)
def test_what_never_stops_is_answered_a_few_times(
    fleet: CountingFleet, agent: AgentInThread, said: Sent, cause: str | None
) -> None:
    fleet.counts.clear()
    end, number = time.monotonic() + WATCHED_S, 0
    while time.monotonic() < end or number <= LEAST:
        fleet.send(agent.device, *said(fleet, agent, number))
        number += 1
        time.sleep(PAUSE_S)
    if cause is not None:
        fleet.wait_for(lambda: cause in {event.cause for event in fleet.events.values()})
        fleet.wait_for(lambda: fleet.reported[agent.device].refused)
        refused = fleet.reported[agent.device].refused
        assert getattr(refused, "cause", None) == cause
    assert fleet.counts[Channel.REPORTED] <= 4, fleet.counts
    assert fleet.counts[Channel.EVENT] <= 4, fleet.counts
    assert fleet.counts.total() <= 8, fleet.counts


def test_something_new_is_taken_at_once_after_refusals(fleet: CountingFleet, agent: AgentInThread) -> None:
    for number in range(5):
        fleet.send(agent.device, *signed(ahead_s=-2 * WEEK_S)(fleet, agent, number))
    fleet.wait_for(lambda: fleet.reported[agent.device].refused)
    fleet.desire(agent.device, generation=1_000_002)
    fleet.wait_for(lambda: fleet.reported[agent.device].generation == 1_000_002)
    said = fleet.reported[agent.device]
    assert not said.refused
    assert said.desired_hash == fleet._desired[agent.device].content_hash()
