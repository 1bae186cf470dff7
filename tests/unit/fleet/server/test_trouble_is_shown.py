"""What a flood and two devices with one identity look like to an operator, from a real server process."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import urllib3
from securesystemslib.signer import CryptoSigner

from edgemm import topics
from edgemm.topics import Channel
from edgemm.trust.enrolment import EnrolmentRequest, EnrolmentResponse, parse_token
from edgemm.trust.signing import PayloadType, key_document, load_key, seal
from simulators.device import MqttDevice, SimulatedDevice
from simulators.flooder import Flood, Flooder
from simulators.waiting import eventually
from tests.unit.fleet.commands.fleets import Served, init

pytestmark = pytest.mark.slow


@dataclass
class Joined:
    """A device that enrolled; it may be connected as often as a card was copied."""

    signer: CryptoSigner
    answer: EnrolmentResponse
    served: Served

    def device(self, *, boots: int = 1) -> MqttDevice:
        director = load_key(self.served.folder / "keys" / "director.pem").public_key
        made = SimulatedDevice(self.answer.fleet, self.answer.device, signer=self.signer, director=[director])
        made.boot_count = boots - 1
        made.restart()
        return MqttDevice(made, self.answer.broker)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    fleet = init(tmp_path / "fleet", scheme="http")
    fleet.start()
    fleet.admin.run("login", fleet.url, "--token", fleet.token)
    yield fleet
    fleet.stop(signal.SIGKILL)


def join(served: Served, name: str) -> Joined:
    token = parse_token(served.admin.json("token", "create")["token"])
    signer = CryptoSigner.generate_ed25519()
    document = key_document(signer.public_key)
    request = EnrolmentRequest(secret=token.secret.hex(), public_key=document, name=name, runtime="0.1.0")
    sealed = seal(request, PayloadType.ENROLMENT, signer)
    response = urllib3.request("POST", f"{served.url}/api/v1/enrol", body=sealed)
    return Joined(signer, msgspec.json.decode(response.data, type=EnrolmentResponse), served)


def metrics(served: Served) -> str:
    token = {"Authorization": f"Bearer {served.token}"}
    return urllib3.request("GET", f"{served.url}/metrics", headers=token).data.decode()


def test_a_device_that_floods_is_named(served: Served) -> None:
    bad, good = join(served, "bad").answer, join(served, "good").answer
    topic = topics.topic(bad.fleet, bad.device, Channel.EVENT)
    with Flooder(Flood.QOS1, port=bad.broker.port, login=(bad.device, bad.broker.password), topic=topic):
        eventually(lambda: served.admin.json("devices", "show", bad.device)["shed"], "the manager sheds it")
    shown = served.admin.run("devices", "show", bad.device)
    assert "beyond its share were thrown away" in shown or "of its messages were refused" in shown
    listed = {line.split()[0]: line for line in served.admin.run("devices", "list").splitlines() if line.strip()}
    assert "floods" in listed[bad.device] or "refused" in listed[bad.device]
    assert "floods" not in listed[good.device]
    shown = metrics(served)
    thrown = re.findall(r"^edgemm_fleet_(?:shed_messages|refused_messages)_total(?:{.*})? (.*)$", shown, re.MULTILINE)
    assert sum(map(float, thrown)) > 0
    assert bad.device not in shown
    assert served.admin.json("devices", "show", good.device)["shed"] is None


def test_two_devices_with_one_identity_are_named_and_do_not_throw_each_other_out_at_full_speed(served: Served) -> None:
    joined = join(served, "cam")
    device = joined.answer.device
    first, second = joined.device(boots=3), joined.device(boots=3)
    second.device.boot = "f" * 16
    first.start()
    eventually(lambda: "online" in served.admin.run("devices", "list"), "the first is online")
    second.start()
    eventually(
        lambda: served.admin.json("devices", "show", device)["device"]["presence"]["duplicate_at"], "it is noticed"
    )
    assert "TWO WITH ITS IDENTITY" in served.admin.run("devices", "list")
    assert "two live devices had this identity" in served.admin.run("devices", "show", device)
    assert 'edgemm_fleet_messages_total{result="duplicate_identity"} 0.0' not in metrics(served)
    first.stop()
    second.stop()
