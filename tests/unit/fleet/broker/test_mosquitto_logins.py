"""Mosquitto's password file and a running Mosquitto: whatever order, whatever becomes of either."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgemm.errors import EnvironmentFailure
from edgemm_fleet.broker.broker_settings import BrokerSettings, MosquittoFolder, Provider
from edgemm_fleet.broker.mosquitto import MosquittoCredentials, MosquittoFiles
from edgemm_fleet.broker.passwords import hash_password
from edgemm_fleet.broker.topic_rights import MANAGER
from edgemm_fleet.server.services import ManagerSettings
from edgemm_fleet.store import devices
from simulators.managed import PASSWORD, ManagedFleet
from simulators.mosquitto import MosquittoProcess, free_port
from simulators.mqtt import MqttProbe
from simulators.waiting import eventually

pytestmark = pytest.mark.service


class Broker:
    """Mosquitto's files in a folder, and logins that a test changes."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.folder, self.program, self.port = folder, program, free_port()
        self.place = MosquittoFolder(folder, pid_file=folder / "pid")
        self.settings = BrokerSettings(Provider.MOSQUITTO, port=self.port, mosquitto=self.place)
        self.logins: dict[str, str] = {}
        self.files = MosquittoFiles(self.settings.with_login(), "lab")
        self.credentials = MosquittoCredentials(self.files, lambda: list(self.logins.items()))

    def run(self) -> MosquittoProcess:
        return MosquittoProcess(self.program, self.folder, port=self.port)

    def probe(self, name: str, password: str = "pw") -> MqttProbe:
        return MqttProbe(self.port, client_id=name, username=name, password=password)


@pytest.fixture
def broker(tmp_path: Path, mosquitto: Path) -> Broker:
    (tmp_path / "broker").mkdir()
    return Broker(tmp_path / "broker", mosquitto)


def test_who_was_refreshed_for_can_log_in_at_once_however_many_come_together(broker: Broker) -> None:
    broker.credentials.refresh()
    with broker.run():

        def enrol(number: int) -> bool:
            name = f"cam-{number}"
            broker.logins[name] = hash_password("pw")
            broker.credentials.refresh()
            with broker.probe(name) as probe:
                return probe.accepted

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(enrol, range(48)))


def test_a_removed_device_is_thrown_out_and_stays_out_and_the_others_stay(broker: Broker) -> None:
    broker.logins |= dict.fromkeys(("cam-1", "cam-2"), hash_password("pw"))
    broker.credentials.refresh()
    with broker.run(), broker.probe("cam-1") as removed, broker.probe("cam-2") as other:
        del broker.logins["cam-1"]
        broker.credentials.refresh()
        removed.wait_until_disconnected()
        other.publish("edgemm/v1/lab/00/cam-2/event", b"still here")
        again = broker.probe("cam-1")
        assert not again.connect()
        again.close()


def test_a_broker_that_goes_by_other_files_is_one_clear_line(broker: Broker, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = Broker(elsewhere, broker.program)
    other.files.write([])
    conf = (elsewhere / "mosquitto.conf").read_text().replace(f"listener {other.port}", f"listener {broker.port}")
    (elsewhere / "mosquitto.conf").write_text(conf)
    with (
        MosquittoProcess(broker.program, elsewhere, port=broker.port),
        pytest.raises(EnvironmentFailure, match=r"has not read its new files .* check that it runs with"),
    ):
        broker.credentials.refresh()


def managed(broker: Broker, folder: Path) -> ManagedFleet:
    return ManagedFleet(folder, ManagerSettings("lab", broker.settings, connect_timeout_s=0.1))


def take_over(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    path.write_text("mine")


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:10])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def hide(path: Path) -> None:
    path.chmod(0)


@pytest.mark.parametrize("harm", [Path.unlink, cut_short, empty, hide, take_over])
def test_a_password_file_that_is_harmed_is_written_anew_and_everybody_comes_back(
    broker: Broker, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    with managed(broker, tmp_path) as fleet, broker.run():
        fleet.add("cam-1")
        harm(broker.folder / "passwords")
        os.kill(int((broker.folder / "pid").read_text()), 1)  # as a rotation of its log does
        eventually(lambda: "cam-1:" in text(broker.folder / "passwords"), "the file is whole again")
        fleet.wait(lambda: fleet.manager.connected and "cam-1" in fleet.online(), "all are connected")
        with broker.probe("cam-1", PASSWORD) as probe:
            assert probe.accepted


def text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def test_a_broker_that_missed_the_reload_is_told_again_when_it_refuses_the_manager(
    broker: Broker, tmp_path: Path
) -> None:
    """It has read the files of the manager's last life; its pid file comes later than the manager looks for it."""
    broker.files.write([])
    with broker.run():
        pid = broker.place.pid_file
        assert pid is not None
        number = pid.read_text()
        pid.unlink()
        with managed(broker, tmp_path) as fleet:
            eventually(lambda: fleet.refusals > 0, "the broker refuses the manager's new password")
            pid.write_text(number)
            fleet.wait(lambda: fleet.manager.connected, "the manager is let in")


def test_manager_and_broker_come_and_go_in_any_order(broker: Broker, tmp_path: Path) -> None:
    with managed(broker, tmp_path) as fleet:
        with broker.run():
            fleet.add("cam-1")
        fleet.wait(lambda: not fleet.manager.connected, "the broker is gone")
        for name in ("acl", "passwords", "mosquitto.conf"):
            (broker.folder / name).unlink()
        eventually((broker.folder / "mosquitto.conf").exists, "the files are there again")
        with broker.run() as process:
            fleet.wait(lambda: "cam-1" in fleet.online() and fleet.manager.connected, "all are back")
            fleet.manager.stop()
            process.kill()
            process.__enter__()
            fleet.start_again()
            fleet.wait(lambda: fleet.manager.connected and "cam-1" in fleet.online(), "all are back")


def test_what_a_manager_was_killed_before_telling_is_told_at_its_next_start(broker: Broker, tmp_path: Path) -> None:
    """Its database has the device, the password file has not; the same for a removal."""
    with managed(broker, tmp_path) as fleet, broker.run():
        fleet.add("cam-1", "cam-2")
        fleet.manager.stop()
        with fleet.store.write() as tx:
            devices.remove(tx, "cam-2", now=1.0)
        broker.files.write([])
        fleet.start_again()
        with broker.probe("cam-1", PASSWORD) as probe:
            assert probe.accepted
        gone = broker.probe("cam-2", PASSWORD)
        assert not gone.connect()
        gone.close()


def test_the_manager_has_a_name_that_no_device_can_have(broker: Broker) -> None:
    broker.credentials.refresh()
    assert [line.partition(":")[0] for line in text(broker.folder / "passwords").splitlines()] == [MANAGER]
