"""The broker is Mosquitto, open to a stranger on the network, who publishes one unsigned status as a device's own.

Right: the device is taken for online again as soon as it connects anew or a report comes that it signed. What nobody
signed cannot put it offline for good, nor can a status that the stranger has the broker retain.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edgemm import topics
from edgemm.messages import MOST_CONNECTIONS, Status, encode_control
from edgemm.times import BUILD_TIME_S, PLAUSIBLE_S
from edgemm.topics import Channel
from edgemm_fleet.broker.broker_settings import BrokerSettings, Provider
from edgemm_fleet.ingest import doubts
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.server.services import ManagerSettings
from edgemm_fleet.store import devices
from simulators.broker import FLEET
from simulators.device import MqttDevice
from simulators.managed import PASSWORD, ManagedFleet
from simulators.mosquitto import MosquittoProcess, free_port, write_open_configuration

pytestmark = [pytest.mark.slow, pytest.mark.service]

LARGEST = 2**53 - 1
CAM = "cam"
HIGH = BUILD_TIME_S + PLAUSIBLE_S


@pytest.fixture
def fleet(tmp_path: Path, mosquitto: Path) -> Iterator[ManagedFleet]:
    port = free_port()
    write_open_configuration(tmp_path, port=port)
    broker = BrokerSettings(Provider.STATIC, "127.0.0.1", port, login=("any", "any"), device_login=("device", "any"))
    with (
        MosquittoProcess(mosquitto, tmp_path, port=port),
        ManagedFleet(tmp_path, ManagerSettings(FLEET, broker)) as one,
    ):
        one.add(CAM)
        yield one


def forge(fleet: ManagedFleet, *, retain: bool = False, **fields: Any) -> None:
    said: dict[str, Any] = {"online": False, "boot": "f" * 16, "boot_count": LARGEST, "connection": LARGEST}
    status = Status(**said | fields)
    stranger = mqtt.Client(CallbackAPIVersion.VERSION2)
    stranger.connect("127.0.0.1", fleet.manager.port)
    stranger.loop_start()
    topic = topics.topic(FLEET, CAM, Channel.STATUS)
    stranger.publish(topic, encode_control(status), qos=1, retain=retain).wait_for_publish(10)
    stranger.disconnect()
    stranger.loop_stop()


def put_offline(fleet: ManagedFleet, **fields: Any) -> None:
    forge(fleet, **fields)
    fleet.wait(lambda: not fleet.online(), "the manager believes it, at first")


@pytest.mark.parametrize("numbers", [(LARGEST, LARGEST), (HIGH, MOST_CONNECTIONS), (2, 1), (HIGH - 1, 1)])
def test_a_new_connection_and_a_report_bring_it_back(fleet: ManagedFleet, numbers: tuple[int, int]) -> None:
    forge(fleet, boot_count=numbers[0], connection=numbers[1])
    if numbers[0] < LARGEST:  # which is not even believed
        fleet.wait(lambda: not fleet.online(), "the manager believes it, at first")
    fleet.devices[CAM].stop()
    access = fleet.manager.credentials.access(CAM, PASSWORD)
    device = fleet.devices[CAM] = MqttDevice(fleet.devices[CAM].device, access)
    device.start()
    fleet.wait(lambda: device.device.connection > 1, "it connects anew")
    device.publish([device.device.report()])
    fleet.wait(fleet.online, "it is online")
    with fleet.store.read() as tx:
        assert devices.get(tx, CAM).presence.duplicate_at is None


def test_a_report_alone_brings_it_back(fleet: ManagedFleet) -> None:
    put_offline(fleet, boot_count=HIGH, connection=MOST_CONNECTIONS)
    device = fleet.devices[CAM]
    device.publish([device.device.report()])
    fleet.wait(fleet.online, "it is online")


def test_it_is_asked_where_it_says_nothing_by_itself(fleet: ManagedFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubts, "_ASK_AGAIN_AFTER_S", 0.5)
    rollout = fleet.start("1.0.0", Group(percent=100))
    fleet.wait(lambda: fleet.rollout(rollout).state == "finished", "it was told something")
    put_offline(fleet, boot_count=HIGH, connection=MOST_CONNECTIONS)
    fleet.wait(fleet.online, "it is online, for it answered")


def test_a_status_that_the_broker_retains_does_not_outlive_a_start_of_the_manager(
    fleet: ManagedFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubts, "_ASK_AGAIN_AFTER_S", 0.5)
    rollout = fleet.start("1.0.0", Group(percent=100))
    fleet.wait(lambda: fleet.rollout(rollout).state == "finished", "it was told something")
    put_offline(fleet, boot_count=HIGH, connection=MOST_CONNECTIONS, retain=True)
    fleet.wait(fleet.online, "it is online")
    fleet.manager.stop()
    fleet.start_again()
    fleet.wait(lambda: not fleet.online(), "the retained status was heard")
    fleet.wait(fleet.online, "it is online again")
