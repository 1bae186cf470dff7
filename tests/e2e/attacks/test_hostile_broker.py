"""Who rules the broker: says anything to anybody, in anybody's name, or keeps it back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgemm.messages import Ack, SpoolGauges, Status, Stream, StreamAck, SystemGauges, Telemetry, encode_control
from edgemm.messages import encode_telemetry as encoded
from edgemm.topics import Channel, topic
from simulators.lying_broker import Packet, published
from simulators.waiting import eventually
from tests.e2e.attacks.attacked import MANAGER_ID, AttackedFleet, Victim

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.service]
MIB = 1024 * 1024
LAST = 2**53 - 1
"""The largest number that a message may hold."""


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory, mosquitto: Path) -> Iterator[AttackedFleet]:
    with AttackedFleet(tmp_path_factory.mktemp("broker")) as fleet:
        yield fleet.up_with_liars(mosquitto)


@pytest.fixture(autouse=True)
def serving(attacked: AttackedFleet) -> Iterator[None]:
    """Predictions are answered through every attack."""
    with attacked.serving():
        yield
    attacked.liar.be_honest()


def test_forged_acks(attacked: AttackedFleet) -> None:
    """They cost events that were not stored yet; what a device runs is told by `reported`, which no ack concerns."""
    device = attacked.victims[0]
    boot = device.report()["reported"]["boot"]
    impossible = Ack(acks=tuple(StreamAck(boot=boot, stream=stream, sequence=LAST) for stream in Stream))
    for payload in (encode_control(impossible), b"", b"{}", b"\xff" * 100, b"[" * 30_000):
        attacked.forge(device, Channel.ACK, payload)
    version = attacked.heals(device)
    eventually(lambda: "committed" in device.causes(version), "what comes after them is not dropped")
    attacked.liar.withhold(lambda packet: packet.client == device.id and packet.topic.endswith("/event"))
    version = attacked.publish_next()
    rollout = attacked.begin(version, device)
    eventually(lambda: attacked.rollout_state(rollout) == "finished", "a rollout rests on what is signed and reported")
    assert device.version() == version


def test_forged_status_heals(attacked: AttackedFleet) -> None:
    """A forged last will is contradicted by the device's next signed report."""
    device = attacked.victim("called-offline")
    presence = device.report()["device"]["presence"]
    status = Status(
        online=False, boot=presence["boot"], boot_count=presence["boot_count"], connection=presence["connection"]
    )
    attacked.forge(device, Channel.STATUS, encode_control(status))
    eventually(lambda: not device.report()["device"]["presence"]["online"], "it is taken to be offline")
    attacked.heals(device)
    eventually(device.online, "it is online again", timeout_s=20)


def test_forged_statuses(attacked: AttackedFleet) -> None:
    """They spoil what is shown of a device, and hold up neither it nor others."""
    one, other = attacked.victims
    before = _presence(other)
    boot = one.report()["reported"]["boot"]
    for status in (
        Status(online=True, boot="f" * 16, boot_count=1, connection=1),
        Status(online=True, boot=boot, boot_count=1, connection=LAST),
        Status(online=False, boot="e" * 16, boot_count=LAST, connection=LAST),
    ):
        attacked.forge(one, Channel.STATUS, encode_control(status))
    for payload in (b"", b"null", b'{"online":"yes"}', b"\x00" * 1000):
        attacked.forge(one, Channel.STATUS, payload)
    attacked.heals(one)
    assert _presence(other) == before


def test_forged_telemetry(attacked: AttackedFleet) -> None:
    """It spoils the charts of the device in whose name it comes; the manager goes on, and others' are their own."""
    one, other = attacked.victims
    boot = bytes.fromhex(one.report()["reported"]["boot"])
    extreme = Telemetry(
        boot=boot, sequence=LAST, floor=LAST, time_s=LAST, uptime_s=LAST, shed=LAST,
        system=SystemGauges(temperature_c=1e308, load_1m=float("inf"), memory_available_bytes=LAST, rss_bytes=LAST),
        spool=SpoolGauges(waiting=LAST, dropped=LAST),
    )  # fmt: skip
    garbage = (b"", b"\xc1", b"\x80" * 1024, b"\xdd\xff\xff\xff\xff", b"\x91" * 30_000, b"x" * 200_000)
    before = _telemetry_of(attacked, other)
    for payload in (encoded(extreme), encoded(msgspec.structs.replace(extreme, boot=b"\0" * 8)), *garbage):
        attacked.forge(one, Channel.TELEMETRY, payload)
    for name in ("nobody", "x" * 63):
        stranger = topic(attacked.name, name, Channel.TELEMETRY)
        attacked.liar.say(MANAGER_ID, published(stranger, encoded(extreme)))
    eventually(lambda: _telemetry_of(attacked, other) > before, "the other's telemetry goes on being stored")
    attacked.api(f"/devices/{one.id}/telemetry")
    attacked.api("/devices")
    attacked.metric("edgemm_fleet_broker_connected")
    version = attacked.heals(one)
    eventually(lambda: "committed" in one.causes(version), "what the device sends is stored and acknowledged")


def test_retained_garbage(attacked: AttackedFleet) -> None:
    """Whoever subscribes gets it first, with each connection anew."""
    device = attacked.victims[0]
    garbage = [b"", b"{}", b"\xff" * 64, b"[" * 30_000, b"x" * 100_000]
    topics = [device.topic(channel) for channel in Channel] + [
        "edgemm/v1", "edgemm/v1/home/00/nobody/reported", "a/" * 10_000, "$SYS/broker", "edgemm/v1/home/+/x/desired",
    ]  # fmt: skip

    def retained(packet: Packet) -> Iterator[bytes]:
        yield packet.raw
        if packet.to_client and packet.kind == 9:  # SUBACK
            yield from (published(where, what, retain=True) for where in topics for what in garbage)

    attacked.liar.lie = retained
    attacked.liar.hang_up()
    eventually(lambda: attacked.metric("edgemm_fleet_broker_connected") == 1, "the manager is back")
    version = attacked.publish_next()
    assert attacked.give(version, device) == ("committed", None)
    eventually(lambda: "desired_untrusted" in device.refusals(), "the device tells what it was sent")


@pytest.mark.parametrize("whom", ["a device", "the manager"])
def test_packets_of_256_mb(attacked: AttackedFleet, whom: str) -> None:
    device = attacked.victims[0]
    program = device.program if whom == "a device" else attacked.server
    client, channel = (device.id, Channel.DESIRED) if whom == "a device" else (MANAGER_ID, Channel.EVENT)
    before = _peak(attacked, whom)
    assert attacked.liar.flood(client, device.topic(channel)) > 0
    assert program.status is None
    assert _peak(attacked, whom) - before < 32 * MIB
    attacked.heals(device)


def test_withheld_messages(attacked: AttackedFleet) -> None:
    """A device stays what it is; what is let go later, in the wrong order, is sorted by its own numbers."""
    device, before = attacked.victims[1], attacked.victims[1].version()
    attacked.liar.withhold(lambda packet: packet.client == device.id and packet.topic != "")
    version = attacked.publish_next()
    attacked.begin(version, device)
    eventually(lambda: attacked.liar.withheld() >= 3, "a `desired` and telemetry wait")
    assert device.version() == before
    attacked.liar.let_go(last_first=True)
    assert device.wait_for_state(version, "committed") == ("committed", None)
    assert device.version() == version


def test_doubled_and_reordered_messages(attacked: AttackedFleet) -> None:
    device, kept = attacked.victims[0], dict[bool, bytes]()

    def shuffled(packet: Packet) -> Iterator[bytes]:
        """Say each message twice, the second time after the one that follows it."""
        yield packet.raw
        if packet.topic and packet.client == device.id:
            if (earlier := kept.get(packet.to_client)) is not None:
                yield earlier
            kept[packet.to_client] = packet.raw

    attacked.liar.lie = shuffled
    version = attacked.publish_next()
    assert attacked.give(version, device) == ("committed", None)
    eventually(lambda: "committed" in device.causes(version), "its events are stored")
    numbers = Counter((event["boot"], event["sequence"]) for event in device.events())
    assert set(numbers.values()) == {1}, "each once"
    assert device.causes(version).count("committed") == 1
    assert device.version() == version


def _presence(device: Victim) -> dict[str, Any]:
    """Return what is shown of a device, but for when it was heard of."""
    return {**device.report()["device"]["presence"], "last_seen_at": None}


def _peak(fleet: AttackedFleet, whom: str) -> int:
    return fleet.victims[0].peak_bytes() if whom == "a device" else fleet.heard_bytes()


def _telemetry_of(fleet: AttackedFleet, device: Victim) -> int:
    """Return the number of the last window that is stored of a device."""
    items = fleet.api(f"/devices/{device.id}/telemetry")["items"]
    return max((int(item["sequence"]) for item in items), default=0)
