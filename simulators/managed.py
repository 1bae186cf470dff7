"""A running fleet manager with simulated devices that log in to its broker, for tests over real sockets."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Self

from securesystemslib.signer import CryptoSigner

from edgemm_fleet.broker.broker_settings import BrokerSettings
from edgemm_fleet.records.progress import Rollout
from edgemm_fleet.records.rollout_plan import Group, RolloutPlan
from edgemm_fleet.server.services import FleetServices, ManagerSettings
from edgemm_fleet.store import Store, devices, rollouts
from simulators.broker import FLEET, MODEL, digest_of, enrol, publish
from simulators.device import MqttDevice, SimulatedDevice
from simulators.waiting import eventually

PASSWORD = "a password of 128 random bits"


class ManagedFleet:
    """A manager on a folder, and its devices; a context manager that stops both."""

    def __init__(
        self,
        folder: Path,
        settings: ManagerSettings | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or ManagerSettings(FLEET, BrokerSettings(port=0))
        self.store = Store.open(folder / "fleet.db")
        self.key = CryptoSigner.generate_ed25519()
        self.manager = FleetServices(self.settings, store=self.store, director_key=self.key, clock=clock)
        self.devices: dict[str, MqttDevice] = {}
        self._signers: dict[str, CryptoSigner] = {}
        with self.store.write() as tx:
            publish(tx, "1.0.0", "2.0.0")

    def __enter__(self) -> Self:
        self.manager.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for device in self.devices.values():
            device.stop()
        self.manager.stop()
        self.store.close()

    def add(self, *names: str) -> None:
        """Start devices, which enrol unless they did before, and wait until they are online."""
        for name in names:
            if name not in self._signers:
                self.enrol(name)
            device = SimulatedDevice(FLEET, name, signer=self._signers[name], director=[self.key.public_key])
            self.devices[name] = MqttDevice(device, self.manager.credentials.access(name, PASSWORD))
            self.devices[name].start()
        eventually(lambda: self.online() >= set(names), f"{names} are online")

    def enrol(self, name: str) -> None:
        """Enrol a device, and let the broker know."""
        self._signers[name] = CryptoSigner.generate_ed25519()
        with self.store.write() as tx:
            enrol(tx, name, self._signers[name], labels={}, password=PASSWORD)
        self.manager.credentials.refresh()

    def online(self) -> set[str]:
        """Return the devices that the manager takes for connected."""
        with self.store.read() as tx:
            return {device.id for device in devices.page(tx, limit=1000).items if device.presence.online}

    @property
    def refusals(self) -> int:
        """How often the broker did not let the manager in."""
        return self.manager.refusals

    def start(self, version: str, *groups: Group) -> str:
        """Start a rollout; return its id."""
        plan = RolloutPlan(model=MODEL, version=version, digest=digest_of(version), groups=groups)
        rollout = self.manager.operations.create(plan, actor="person:ann", now=time.time())
        self.manager.operations.start(rollout.id, actor="person:ann", now=time.time())
        return rollout.id

    def rollout(self, rollout: str) -> Rollout:
        """Return a rollout as it is stored."""
        with self.store.read() as tx:
            return rollouts.get(tx, rollout)

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something that the manager or a device does."""
        eventually(condition, what)

    def start_again(self) -> None:
        """Start a new manager, after the last one was stopped, on the same store and broker port."""
        self.settings = replace(self.settings, broker=replace(self.settings.broker, port=self.manager.port))
        self.manager = FleetServices(self.settings, store=self.store, director_key=self.key)
        self.manager.start()
