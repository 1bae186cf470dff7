"""The main job over a real Mosquitto with the generated passwords and access rules, and what outsiders get from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from edgemm import messages, topics
from edgemm.topics import Channel
from edgemm.trust import signing
from simulators.mqtt import MqttProbe
from simulators.waiting import eventually
from tests.e2e.fleets import Device, Fleet
from tests.e2e.processes import Program

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.service]


@dataclass
class Served:
    """A fleet at a broker of its own."""

    fleet: Fleet
    port: int
    broker: Program
    devices: list[Device]

    def logs(self) -> str:
        """What its processes printed."""
        return self.fleet.logs()

    def credentials(self, device: Device) -> tuple[str, str]:
        """Return a device's login, as somebody who stole its card has it."""
        access = json.loads((device.state / "identity.json").read_text())["broker"]
        return access["username"], access["password"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, mosquitto: Path) -> Iterator[Served]:
    """Two devices of a fleet over Mosquitto."""
    with Fleet(tmp_path_factory.mktemp("mosquitto")) as fleet:
        broker = fleet.up_over_mosquitto(mosquitto)
        port = int(fleet.broker.rpartition(":")[2])
        yield Served(fleet, port, broker, fleet.join("one", "two"))


def _topic(served: Served, device: Device, channel: Channel) -> str:
    return topics.topic(served.fleet.name, device.id, channel)


def test_a_version_is_rolled_out_and_a_broken_one_is_not(served: Served) -> None:
    fleet = served.fleet
    fleet.publish("1.0.0")
    fleet.publish("2.0.0", scramble=True)
    fleet.rollout("1.0.0", "--group", "1", "--group", "100%")
    assert [device.version() for device in served.devices] == ["1.0.0"] * 2
    fleet.rollout("2.0.0", "--group", "1", "--group", "100%", status=1)
    assert fleet.last_rollout()["state"] == "halted"
    assert [device.version() for device in served.devices] == ["1.0.0"] * 2
    eventually(lambda: "committed" in served.devices[0].causes("1.0.0"), "events are stored")


def test_an_outsider_gets_nothing(served: Served) -> None:
    for name, password in ((None, None), (served.devices[0].id, "guessed"), ("@manager", "guessed")):
        probe = MqttProbe(served.port, client_id="outsider", username=name, password=password)
        assert not probe.connect(), name
        probe.close()


def test_a_device_hears_and_speaks_for_itself_only(served: Served) -> None:
    thief, victim = served.devices
    name, password = served.credentials(thief)
    before = served.fleet.api(f"/devices/{victim.id}")
    signer = signing.load_key(thief.state / "device.key")
    forged = signing.seal(
        messages.Event(
            fleet=served.fleet.name, device=victim.id, boot="0" * 16, boot_count=99, sequence=1, floor=1,
            time="2026-01-01T00:00:00Z", uptime_s=1.0, cause="forged",
        ),
        signing.PayloadType.EVENT,
        signer,
    )  # fmt: skip
    offline = messages.encode_control(
        messages.Status(online=False, boot=before["reported"]["boot"], boot_count=99, connection=99)
    )
    with MqttProbe(served.port, client_id=name, username=name, password=password) as probe:
        assert probe.accepted
        probe.subscribe("#", "edgemm/v1/+/+/+/reported", _topic(served, victim, Channel.DESIRED))
        probe.publish(_topic(served, victim, Channel.EVENT), forged)
        probe.publish(_topic(served, victim, Channel.STATUS), offline, retain=True)
        probe.publish(_topic(served, thief, Channel.DESIRED), b"{}", retain=True)
        probe.publish(_topic(served, thief, Channel.ACK), b"{}")
        served.broker.wait_for("(Denied PUBLISH.*ack)")
        heard = {topic for topic, _, _ in probe.messages}
    assert all(thief.id in topic for topic in heard), heard
    after = served.fleet.api(f"/devices/{victim.id}")
    assert after["device"]["presence"] == before["device"]["presence"]
    assert "forged" not in {event["cause"] for event in victim.events()}
    denied = [line for line in served.broker.text.splitlines() if "Denied PUBLISH" in line]
    assert len(denied) == 4, denied


def test_a_wish_that_the_director_did_not_sign_is_refused(served: Served, tmp_path: Path) -> None:
    """Whoever rules the broker, and so can publish anything, cannot make a device run anything."""
    device = served.devices[0]
    generation = device.report()["reported"]["generation"]
    wish = messages.Desired(
        fleet=served.fleet.name, device=device.id, generation=generation + 5,
        not_before="2020-01-01T00:00:00Z", expires="2040-01-01T00:00:00Z",
        models=(messages.DesiredModel(name="tiny", version="1.0.0", digest="0" * 64),),
    )  # fmt: skip
    forged = signing.seal(wish, signing.PayloadType.DESIRED, CryptoSigner.generate_ed25519())
    acl = served.fleet.place.folder / "broker" / "acl"
    acl.write_text(acl.read_text() + f"\nuser {served.devices[1].id}\ntopic write edgemm/v1/#\n")
    served.broker.hang_up()
    name, password = served.credentials(served.devices[1])
    with MqttProbe(served.port, client_id=name, username=name, password=password) as admin:
        eventually(lambda: "Reloading config" in served.broker.text, "the broker has the new rules")
        admin.publish(_topic(served, device, Channel.DESIRED), forged, retain=True)
    eventually(lambda: "desired_untrusted" in {e["cause"] for e in device.events()}, "the device reports the forgery")
    before = device.report()["device"]["presence"]["boot"]
    device.kill()
    device.start().program.wait_for("(connected)")
    eventually(lambda: device.report()["device"]["presence"]["boot"] != before, "it is back")
    assert device.report()["reported"]["generation"] == generation
