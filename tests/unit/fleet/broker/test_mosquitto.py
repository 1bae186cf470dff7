from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgemm.errors import EnvironmentFailure
from edgemm.messages import MAX_CONTROL_BYTES
from edgemm.states import RolloutState
from edgemm.topics import Channel, topic
from edgemm_fleet.broker.broker_settings import BrokerSettings, MosquittoFolder, Provider
from edgemm_fleet.broker.mosquitto import MosquittoCredentials, MosquittoFiles
from edgemm_fleet.broker.passwords import hash_password
from edgemm_fleet.broker.topic_rights import MANAGER
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.server.services import ManagerSettings
from simulators.managed import ManagedFleet
from simulators.mosquitto import MosquittoProcess, free_port
from simulators.mqtt import MqttProbe
from simulators.waiting import eventually

PASSWORDS = {"cam-1": "one", "cam-2": "two"}


def settings_of(place: MosquittoFolder, port: int) -> BrokerSettings:
    return BrokerSettings(Provider.MOSQUITTO, port=port, login=(MANAGER, "secret"), mosquitto=place)


def files(folder: Path, port: int, **settings: Any) -> MosquittoFiles:
    return MosquittoFiles(settings_of(MosquittoFolder(folder, **settings), port), "lab")


@pytest.fixture
def port(tmp_path: Path, mosquitto: Path) -> Iterator[int]:
    port = free_port()
    files(tmp_path, port).write([(name, hash_password(password)) for name, password in PASSWORDS.items()])
    with MosquittoProcess(mosquitto, tmp_path, port=port):
        yield port


def device(port: int, name: str = "cam-1", password: str | None = None) -> MqttProbe:
    return MqttProbe(port, client_id=name, username=name, password=password or PASSWORDS[name])


@pytest.mark.service
def test_mosquitto_lets_in_only_those_with_their_own_password(port: int) -> None:
    for probe in (device(port, password="two"), MqttProbe(port, client_id="cam-1")):
        assert not probe.connect()
        probe.close()
    with device(port) as probe:
        assert probe.accepted


@pytest.mark.service
def test_mosquitto_takes_the_largest_message_and_nothing_above(port: int) -> None:
    where = topic("lab", "cam-1", Channel.EVENT)
    with MqttProbe(port, client_id="m", username=MANAGER, password="secret") as fleet:
        fleet.subscribe("edgemm/v1/lab/+/+/event")
        for size in (MAX_CONTROL_BYTES, MAX_CONTROL_BYTES + 1):
            with device(port) as sender:
                sender.publish(where, b"x" * size)
        with device(port) as sender:
            sender.publish(where, b"after")
        eventually(lambda: len(fleet.messages) == 2, "both that fit have come")
    assert [len(payload) for _, payload, _ in fleet.messages] == [MAX_CONTROL_BYTES, 5]


@pytest.mark.service
def test_mosquittos_acl_keeps_devices_apart(port: int) -> None:
    with (
        MqttProbe(port, client_id="m", username=MANAGER, password="secret") as fleet,
        device(port) as one,
        device(port, "cam-2") as two,
    ):
        fleet.subscribe("edgemm/v1/lab/+/+/event", "edgemm/v1/lab/+/+/desired")
        one.subscribe("edgemm/v1/lab/+/+/desired", "edgemm/v1/lab/+/+/event", "#")
        two.subscribe(topic("lab", "cam-2", Channel.DESIRED))
        one.publish(topic("lab", "cam-2", Channel.EVENT), b"forged")
        one.publish(topic("lab", "cam-1", Channel.DESIRED), b"forged")
        one.publish(topic("lab", "cam-2", Channel.DESIRED), b"forged")
        two.publish(topic("lab", "cam-2", Channel.EVENT), b"true")
        fleet.publish(topic("lab", "cam-2", Channel.DESIRED), b"for 2")
        fleet.publish(topic("lab", "cam-1", Channel.DESIRED), b"for 1")
        eventually(lambda: two.messages and one.messages and len(fleet.messages) == 3, "everybody heard what is theirs")
        assert [payload for _, payload, _ in two.messages] == [b"for 2"]
        assert [payload for _, payload, _ in one.messages] == [b"for 1"]
        assert sorted(payload for _, payload, _ in fleet.messages) == [b"for 1", b"for 2", b"true"]


@pytest.mark.service
def test_a_rollout_over_mosquitto_reaches_devices_that_enrol_while_it_runs(tmp_path: Path, mosquitto: Path) -> None:
    port, folder = free_port(), tmp_path / "broker"
    folder.mkdir()
    settings = ManagerSettings("lab", settings_of(MosquittoFolder(folder, pid_file=folder / "pid"), port))
    MosquittoFiles(settings.broker, "lab").write([])
    with MosquittoProcess(mosquitto, folder, port=port), ManagedFleet(tmp_path, settings) as fleet:
        fleet.add("cam-1", "cam-2", "cam-3")
        rollout = fleet.start("1.0.0", Group(count=1), Group(percent=100))
        fleet.wait(lambda: fleet.rollout(rollout).state is RolloutState.FINISHED, "the rollout is finished")
        fleet.wait(
            lambda: not any(device.device.unacknowledged() for device in fleet.devices.values()),
            "every event is acknowledged",
        )
        assert {device.device.active["digits"].version for device in fleet.devices.values()} == {"1.0.0"}


@pytest.mark.service
def test_devices_and_manager_come_back_when_mosquitto_does(tmp_path: Path, mosquitto: Path) -> None:
    port, folder = free_port(), tmp_path / "broker"
    folder.mkdir()
    place = MosquittoFolder(folder, pid_file=folder / "pid")
    settings = ManagerSettings("lab", settings_of(place, port), connect_timeout_s=0.1)
    files(folder, port, pid_file=folder / "pid").write([])
    with ManagedFleet(tmp_path, settings) as fleet:
        assert not fleet.manager.connected, "a broker that is down does not keep the manager from starting"
        with MosquittoProcess(mosquitto, folder, port=port):
            fleet.add("cam-1")
        fleet.wait(lambda: not fleet.manager.connected, "the manager notices that the broker went away")
        rollout = fleet.start("1.0.0", Group(count=1))
        with MosquittoProcess(mosquitto, folder, port=port):
            fleet.wait(lambda: fleet.rollout(rollout).state is RolloutState.FINISHED, "the rollout is finished")


def test_a_reload_command_that_fails_is_one_clear_line(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "raise SystemExit(3)")
    provider = MosquittoCredentials(files(tmp_path, 1883, reload_command=command), list)
    with pytest.raises(EnvironmentFailure, match="Mosquitto could not be asked to reload: .* exit status 3"):
        provider.refresh()


def test_a_pid_file_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    provider = MosquittoCredentials(files(tmp_path, 1883, pid_file=tmp_path / "pid"), list)
    (tmp_path / "pid").write_text("9" * 30)
    with pytest.raises(EnvironmentFailure, match="Mosquitto could not be asked to reload: .*: check the pid file"):
        provider.refresh()


def test_a_mosquitto_that_does_not_run_needs_no_reload(tmp_path: Path) -> None:
    provider = MosquittoCredentials(files(tmp_path, 1883, pid_file=tmp_path / "pid"), lambda: [("cam-1", "$7$x")])
    provider.refresh()
    (tmp_path / "pid").write_text("4194999")  # beyond the largest process id of Linux
    provider.refresh()
    lines = (tmp_path / "passwords").read_text().splitlines()
    assert [line.partition(":")[0] for line in lines] == [MANAGER, "cam-1"]


def test_a_missing_folder_is_made_and_one_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    files(tmp_path / "new", 1883).write([])
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"passwords", "acl", "mosquitto.conf"}
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(EnvironmentFailure, match="cannot write .*passwords.*nothing was changed"):
        files(tmp_path / "file", 1883).write([])
