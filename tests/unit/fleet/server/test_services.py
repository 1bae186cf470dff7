"""The manager as a whole, over the embedded broker."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from edgemm.errors import EnvironmentFailure
from edgemm.messages import Action
from edgemm.states import RolloutState
from edgemm_fleet.broker.broker_settings import BrokerSettings, Provider
from edgemm_fleet.records.records import ActionRecord
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.server.services import FleetServices, ManagerSettings
from edgemm_fleet.store import Store, actions, desired, devices, streams
from simulators.broker import FLEET, digest_of
from simulators.device import Outcome
from simulators.managed import ManagedFleet

EVERYBODY = Group(percent=100)


@pytest.fixture(autouse=True)
def no_thread_failed(caplog: pytest.LogCaptureFixture) -> object:
    yield
    assert [r.getMessage() for r in caplog.records if r.name == "edgemm_fleet.worker"] == []


def test_a_rollout_over_the_embedded_broker(tmp_path: Path) -> None:
    with ManagedFleet(tmp_path) as fleet:
        fleet.add("cam-1", "cam-2", "cam-3")
        rollout = fleet.start("1.0.0", Group(count=1), EVERYBODY)
        fleet.wait(lambda: fleet.rollout(rollout).state is RolloutState.FINISHED, "the rollout is finished")
        fleet.wait(lambda: not any(d.device.unacknowledged() for d in fleet.devices.values()), "all is acknowledged")
        for device in fleet.devices.values():
            device.publish([device.device.measure()])
        fleet.wait(lambda: not any(d.device.unacknowledged() for d in fleet.devices.values()), "telemetry too")
        with fleet.store.read() as tx:
            assert streams.received(tx) == {"event": 21, "telemetry": 3}


def test_a_bad_version_halts_at_the_canary(tmp_path: Path) -> None:
    with ManagedFleet(tmp_path) as fleet:
        fleet.add("cam-1", "cam-2", "cam-3")
        first = fleet.start("1.0.0", EVERYBODY)
        fleet.wait(lambda: fleet.rollout(first).state is RolloutState.FINISHED, "version 1 is everywhere")
        for device in fleet.devices.values():
            device.device.outcomes[digest_of("2.0.0")] = Outcome.SELFTEST_FAILED
        second = fleet.start("2.0.0", Group(count=1), EVERYBODY)
        fleet.wait(lambda: fleet.rollout(second).state is RolloutState.HALTED, "version 2 is halted")
        assert {d.device.active["digits"].version for d in fleet.devices.values()} == {"1.0.0"}
        fleet.wait(
            # Version 1, version 2 for the canary, and version 1 again for it alone.
            lambda: sorted(len(d.device.generations) for d in fleet.devices.values()) == [1, 1, 3],
            "the canary is told to keep what it runs",
        )


def test_devices_come_back_to_a_manager_that_restarts_and_a_broker_that_forgot_everything(tmp_path: Path) -> None:
    with ManagedFleet(tmp_path) as fleet:
        fleet.add("cam-1")
        fleet.manager.stop()
        rollout = fleet.start("1.0.0", EVERYBODY)
        fleet.start_again()
        fleet.wait(lambda: fleet.rollout(rollout).state is RolloutState.FINISHED, "the rollout is finished")


def test_a_device_that_vanishes_is_offline_and_online_again_when_it_is_back(tmp_path: Path) -> None:
    with ManagedFleet(tmp_path) as fleet:
        fleet.add("cam-1")
        sock = fleet.devices["cam-1"]._client.socket()
        assert isinstance(sock, socket.socket)
        sock.shutdown(socket.SHUT_RDWR)
        fleet.wait(lambda: fleet.devices["cam-1"].device.connection == 2, "the device connects again")
        fleet.wait(lambda: fleet.online() == {"cam-1"}, "the manager knows")


def test_a_device_that_went_away_while_the_manager_was_down_is_offline(tmp_path: Path) -> None:
    with ManagedFleet(tmp_path) as fleet:
        fleet.add("gone", "here")
        with fleet.store.read() as tx:
            before = {name: devices.get(tx, name).presence for name in fleet.devices}
        fleet.manager.stop()
        fleet.devices.pop("gone").stop()
        with fleet.store.write() as tx:  # as a manager that was killed leaves it
            for name, presence in before.items():
                devices.set_presence(tx, name, presence)
        assert fleet.online() == {"gone", "here"}
        fleet.start_again()
        fleet.wait(lambda: fleet.online() == {"here"}, "only the device that is there is online")


def test_what_a_broker_lost_is_sent_again(tmp_path: Path) -> None:
    settings = ManagerSettings(FLEET, BrokerSettings(port=0), tick_s=0.01, resend_after_s=0.0)
    with ManagedFleet(tmp_path, settings) as fleet:
        fleet.add("cam-1")
        device = fleet.devices["cam-1"].device
        device.silent = True  # as if the message never arrived
        rollout = fleet.start("1.0.0", EVERYBODY)
        fleet.wait(lambda: not _unsent(fleet), "the broker has it")
        device.silent = False
        fleet.wait(lambda: fleet.rollout(rollout).state is RolloutState.FINISHED, "the rollout is finished")


def _unsent(fleet: ManagedFleet) -> bool:
    with fleet.store.read() as tx:
        record = desired.find(tx, "cam-1")
    return record is None or record.unsent


def test_an_action_is_done_and_told_and_then_wanted_no_more(tmp_path: Path) -> None:
    with ManagedFleet(tmp_path) as fleet:
        fleet.add("cam-1", "cam-2")
        fleet.devices["cam-1"].device.action_faults["selftest"] = "output probs: expected 0.25"
        for device, kind in (("cam-1", "selftest"), ("cam-1", "prune"), ("cam-2", "selftest")):
            fleet.manager.actions.add(device, Action(id=f"{device}-{kind}", kind=kind), actor="person:ann", now=1.0)
        fleet.wait(lambda: all(one.done_at for one in _actions(fleet)), "all is done")
        assert {one.action.id: (one.ok, one.detail) for one in _actions(fleet)} == {
            "cam-1-selftest": (False, "output probs: expected 0.25"),
            "cam-1-prune": (True, ""),
            "cam-2-selftest": (True, ""),
        }
        fleet.wait(lambda: not any(_wanted_actions(fleet)), "they are wanted no more")


def _actions(fleet: ManagedFleet) -> list[ActionRecord]:
    with fleet.store.read() as tx:
        return [one for device in fleet.devices for one in actions.page(tx, device).items]


def _wanted_actions(fleet: ManagedFleet) -> list[tuple[Action, ...]]:
    with fleet.store.read() as tx:
        return [record.desired.actions for record in desired.of(tx, list(fleet.devices)).values()]


def test_a_port_that_is_taken_is_one_clear_line(tmp_path: Path) -> None:
    with ManagedFleet(tmp_path) as fleet:
        settings = ManagerSettings(FLEET, BrokerSettings(port=fleet.manager.port))
        second = FleetServices(settings, store=fleet.store, director_key=fleet.key)
        with pytest.raises(EnvironmentFailure, match="the embedded broker cannot listen on"):
            second.start()


def test_no_secret_is_in_the_settings_text() -> None:
    settings = ManagerSettings(FLEET, BrokerSettings(login=("m", "hunter2"), device_login=("all", "hunter3")))
    assert "hunter" not in repr(settings)


def test_with_a_static_broker_all_devices_use_the_given_login(tmp_path: Path) -> None:
    broker = BrokerSettings(Provider.STATIC, "broker.example", 8883, tls=True, device_login=("all", "pw"))
    settings = ManagerSettings(FLEET, broker)
    store = Store.open(tmp_path / "fleet.db")
    manager = FleetServices(settings, store=store, director_key=CryptoSigner.generate_ed25519())
    access = manager.credentials.access("cam-1", "its own password")
    store.close()
    assert (access.host, access.port, access.tls) == ("broker.example", 8883, True)
    assert (access.username, access.password) == ("all", "pw")
