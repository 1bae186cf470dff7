"""One device floods the fleet's broker: it is held up, shed, named and served again, and others notice nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemm import topics
from edgemm.messages import MAX_CONTROL_BYTES
from edgemm.topics import Channel
from edgemm_fleet.broker.broker_settings import BrokerSettings, MosquittoFolder, Provider
from edgemm_fleet.broker.topic_rights import MANAGER
from edgemm_fleet.server.services import ManagerSettings
from simulators.broker import FLEET
from simulators.flooder import Flood, Flooder
from simulators.managed import PASSWORD, ManagedFleet
from simulators.mosquitto import MosquittoProcess, free_port
from simulators.mqtt import MqttProbe

SHORT = 20


def flood(fleet: ManagedFleet, kind: Flood, device: str = "bad") -> Flooder:
    topic = topics.topic(FLEET, device, Channel.EVENT)
    return Flooder(kind, port=fleet.manager.port, login=(device, PASSWORD), topic=topic)


def acknowledged(fleet: ManagedFleet, *names: str) -> None:
    """Have devices measure and wait until all of it is acknowledged."""
    for _ in range(SHORT):
        for name in names:
            fleet.devices[name].publish([fleet.devices[name].device.measure()])
    fleet.wait(
        lambda: not any(fleet.devices[name].device.unacknowledged() for name in names), f"{names} are acknowledged"
    )


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[ManagedFleet]:
    with ManagedFleet(tmp_path) as fleet:
        fleet.enrol("bad")
        fleet.add("honest")
        yield fleet


@pytest.fixture
def over_mosquitto(tmp_path: Path, mosquitto: Path) -> Iterator[ManagedFleet]:
    folder = tmp_path / "broker"
    folder.mkdir()
    place = MosquittoFolder(folder, pid_file=folder / "pid")
    settings = BrokerSettings(Provider.MOSQUITTO, port=free_port(), mosquitto=place)
    with (
        ManagedFleet(tmp_path, ManagerSettings(FLEET, settings, connect_timeout_s=0.1)) as fleet,
        MosquittoProcess(mosquitto, folder, port=settings.number, verbose=False),
    ):
        fleet.enrol("bad")
        fleet.add("honest")
        yield fleet


@pytest.mark.parametrize("kind", [Flood.QOS0, Flood.QOS1])
def test_the_embedded_broker_holds_up_who_floods_and_nobody_else(embedded: ManagedFleet, kind: Flood) -> None:
    with flood(embedded, kind):
        embedded.wait(lambda: embedded.manager.shedding.of("bad"), "the flood is refused, and named")
        acknowledged(embedded, "honest")
        assert embedded.online() >= {"honest"}
    embedded.add("bad")
    acknowledged(embedded, "bad")


@pytest.mark.service
@pytest.mark.parametrize("kind", [Flood.QOS0, Flood.QOS1, Flood.RETAINED])
def test_mosquitto_shuts_out_who_floods_for_a_while(over_mosquitto: ManagedFleet, kind: Flood) -> None:
    fleet = over_mosquitto
    with flood(fleet, kind):
        fleet.wait(lambda: fleet.manager.shedding.cut_off() == {"bad"}, "it is cut off")
        acknowledged(fleet, "honest")
        fleet.wait(lambda: "bad" not in passwords(fleet), "it has no login")
    fleet.wait(lambda: "bad" in passwords(fleet), "it has its login again")
    fleet.add("bad")
    acknowledged(fleet, "bad", "honest")


@pytest.mark.service
def test_what_mosquitto_retains_on_topics_of_no_device_is_cleared(over_mosquitto: ManagedFleet) -> None:
    fleet = over_mosquitto
    topic = "edgemm/v1/lab/zz/bad/status"
    with MqttProbe(fleet.manager.port, client_id="bad", username="bad", password=PASSWORD) as bad:
        bad.publish(topic, b"garbage", retain=True)
        bad.wait_until_disconnected()
    own = fleet.manager.broker_settings.login
    assert own is not None

    def retained() -> list[str]:
        with MqttProbe(fleet.manager.port, client_id=MANAGER, username=own[0], password=own[1]) as probe:
            probe.subscribe("edgemm/v1/lab/+/bad/+", "edgemm/v1/lab/+/honest/status")
            fleet.wait(lambda: any("/honest/" in topic for topic, _, _ in probe.messages), "what is retained has come")
            return [found for found, _, _ in probe.messages if found == topic]

    fleet.manager.stop()  # it would lose its connection to somebody with its name
    assert not retained()


@pytest.mark.service
def test_mosquitto_is_told_what_it_may_keep(over_mosquitto: ManagedFleet) -> None:
    place = over_mosquitto.settings.broker.mosquitto
    assert place is not None
    lines = dict(line.split(" ", 1) for line in (place.folder / "mosquitto.conf").read_text().splitlines())
    assert int(lines["max_queued_bytes"]) <= 64 * 2**20
    assert int(lines["max_inflight_bytes"]) <= 64 * 2**20
    assert int(lines["max_queued_messages"]) * MAX_CONTROL_BYTES <= 128 * 2**20, "alone what bounds QoS 0"
    assert MAX_CONTROL_BYTES < int(lines["max_packet_size"]) <= 64 * 2**10
    assert int(lines["memory_limit"]) >= 64 * 2**20


def passwords(fleet: ManagedFleet) -> set[str]:
    place = fleet.settings.broker.mosquitto
    assert place is not None
    return {line.partition(":")[0] for line in (place.folder / "passwords").read_text().splitlines()}
