"""A real manager process, killed again and again in the middle of a rollout, with devices over its real broker."""

from __future__ import annotations

import random
import time
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner

from edgemm.states import RolloutState
from edgemm.trust import signing
from edgemm.trust.enrolment import BrokerAccess
from edgemm_fleet.director.director import Director
from edgemm_fleet.records.rollout_plan import Group, RolloutPlan
from edgemm_fleet.rollout.operations import RolloutOperations
from edgemm_fleet.rollout.runner import Runner
from edgemm_fleet.store import Store, rollouts, streams
from simulators.broker import FLEET, MODEL, digest_of, enrol, publish
from simulators.device import MqttDevice, SimulatedDevice
from simulators.manager_process import ManagerProcess
from simulators.mosquitto import free_port
from simulators.waiting import eventually

DEVICES = 12
GROUPS = (Group(count=1), Group(percent=50), Group(percent=100))


@pytest.fixture
def devices(tmp_path: Path) -> list[SimulatedDevice]:
    """Devices that are enrolled in a store on disk, with the director's key beside it."""
    director = signing.create_key(tmp_path / "director.pem").public_key
    store = Store.open(tmp_path / "fleet.db")
    made = []
    with store.write() as tx:
        publish(tx, "1.0.0", "2.0.0")
        for number in range(DEVICES):
            signer = CryptoSigner.generate_ed25519()
            enrol(tx, f"cam-{number}", signer, labels={})
            made.append(SimulatedDevice(FLEET, f"cam-{number}", signer=signer, director=[director]))
    store.close()
    return made


@pytest.mark.slow
def test_a_killed_manager_finishes_its_rollouts_and_nothing_is_installed_twice(
    tmp_path: Path, devices: list[SimulatedDevice]
) -> None:
    rng, port = random.Random(20261120), free_port()
    store = Store.open(tmp_path / "fleet.db")
    director = Director(FLEET, signing.load_key(tmp_path / "director.pem"))
    operations = RolloutOperations(store, Runner(director), wake=lambda: None)
    access = BrokerAccess(host="127.0.0.1", port=port, tls=False, username="", password="pw")
    carried = [MqttDevice(device, replace(access, username=device.id)) for device in devices]
    process = ManagerProcess(tmp_path, port=port).start()
    try:
        for connected in carried:
            connected.start()
        kills = 0
        for version in ("1.0.0", "2.0.0"):
            plan = RolloutPlan(model=MODEL, version=version, digest=digest_of(version), groups=GROUPS)
            rollout = operations.create(plan, actor="person:ann", now=time.time()).id
            operations.start(rollout, actor="person:ann", now=time.time())
            for _ in range(3):
                _wait_for_progress(store, rollout, DEVICES * rng.random())
                process.kill()
                process.start()
                kills += 1
            eventually(partial(_is_finished, store, rollout), f"{version} is finished")
        assert kills == 6
        eventually(lambda: not any(device.unacknowledged() for device in devices), "every event is acknowledged")
        for device in devices:
            assert device.installs == [(digest_of("1.0.0"), 1), (digest_of("2.0.0"), 1)]
            assert device.generations == sorted(set(device.generations)), "generations only rise"
            assert _events(store, device.id) == list(range(1, 15)), "each event is stored once"
    finally:
        for connected in carried:
            connected.stop()
        process.kill()
        store.close()


def _state(store: Store, rollout: str) -> RolloutState:
    with store.read() as tx:
        return rollouts.get(tx, rollout).state


def _is_finished(store: Store, rollout: str) -> bool:
    return _state(store, rollout) is RolloutState.FINISHED


def _wait_for_progress(store: Store, rollout: str, committed: float) -> None:
    """Wait until about this many members committed, or all that ever will before the next group."""

    def enough() -> bool:
        with store.read() as tx:
            done = [m for m in rollouts.members_of(tx, rollout) if m.state == "committed"]
            return len(done) >= committed or rollouts.get(tx, rollout).state is RolloutState.FINISHED

    eventually(enough, f"{committed:.0f} devices committed")


def _events(store: Store, device: str) -> list[int]:
    with store.read() as tx:
        return sorted(record.event.sequence for record in streams.page_events(tx, device, limit=1000).items)
