"""The parts of a manager that carry rollouts, on a database, and a broker that carries nothing."""

from __future__ import annotations

import json
import queue
import time
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from simulators import needs

with needs.imports(__name__, "fleet"):
    from securesystemslib.signer import CryptoSigner

    from benchmarks.fleet_store.timed_store import TimedStore
    from edgemm_fleet.broker.broker_connection import Receipt
    from edgemm_fleet.director.director import Director
    from edgemm_fleet.director.outbox import Outbox
    from edgemm_fleet.ingest.batch import Ingest
    from edgemm_fleet.ingest.reading import Incoming
    from edgemm_fleet.records.progress import Rollout
    from edgemm_fleet.records.rollout_plan import Group, RolloutPlan
    from edgemm_fleet.rollout.hand_outs import HandOuts
    from edgemm_fleet.rollout.operations import RolloutOperations
    from edgemm_fleet.rollout.preparer import Preparer
    from edgemm_fleet.rollout.runner import Runner
    from edgemm_fleet.store import rollouts
    from edgemm_fleet.store.dialects.database_address import DatabaseAddress
    from simulators.broker import FLEET, MODEL, digest_of, enrol, publish
    from simulators.device import Outcome, SimulatedDevice

FIRST = "a-first"
"""The device that is told first, and whose report crosses the threshold."""


class DeafBroker:
    """A connection to a broker that takes everything at once, and carries nothing."""

    def __init__(self) -> None:
        self.connected, self.connection = True, 1
        self.delivered: queue.SimpleQueue[Receipt] = queue.SimpleQueue()
        self.on_change: Callable[[], None] = lambda: None
        self.told: dict[str, float] = {}
        """Device → when it was told first to run something."""
        self.told_else: dict[str, float] = {}
        """Device → when it was told last to run nothing, where it had been told to."""
        self.first: tuple[str, bytes] | None = None
        """What the first device was told."""
        self._number = 0

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> Receipt:  # noqa: ARG002 - as the line has it
        """Note what is told."""
        device, now = topic.rsplit("/", 2)[1], time.perf_counter()
        if device == FIRST and self.first is None:
            self.first = (topic, payload)
        if json.loads(b64decode(json.loads(payload)["payload"]))["models"]:
            self.told.setdefault(device, now)
        elif device in self.told:  # else it was noted as told, and not told before the halt
            self.told_else[device] = now
        self._number += 1
        receipt = Receipt(1, self._number)
        self.delivered.put(receipt)
        self.on_change()
        return receipt

    def forget(self) -> None:
        """Begin anew."""
        self.told.clear()
        self.told_else.clear()
        self.first = None


class Manager:
    """The parts of a manager that carry rollouts, on a database."""

    def __init__(self, address: DatabaseAddress) -> None:
        self.store = TimedStore.open(address)
        signer = CryptoSigner.generate_ed25519()
        director = Director(FLEET, signer)
        self.runner = Runner(director)
        self.broker = DeafBroker()
        link: Any = self.broker
        hand_outs = HandOuts(self.store, self.runner)
        self.outbox = Outbox(self.store, director=director, link=link, hand_outs=hand_outs, clock=time.time)
        self.ingest = Ingest(self.store, fleet=FLEET, director=director, runner=self.runner)
        self.operations = RolloutOperations(self.store, self.runner, wake=self.outbox.wake)
        self.preparer = Preparer(self.store, self.runner, clock=time.time, wake=self.outbox.wake)
        key = CryptoSigner.generate_ed25519()
        self.device = SimulatedDevice(
            FLEET, FIRST, signer=key, director=[signer.public_key], default=Outcome.SELFTEST_FAILED, now=time.time()
        )
        with self.store.write() as tx:
            publish(tx, "1.0.0", "2.0.0")
            enrol(tx, FIRST, key, labels={})
        self._hear(self.device.connect())

    def begin(self, version: str, group: Group) -> str:
        """Draft and start a rollout."""
        plan = RolloutPlan(model=MODEL, version=version, digest=digest_of(version), groups=(group,))
        rollout = self.operations.create(plan, actor="benchmark", now=time.time()).id
        self.operations.start(rollout, actor="benchmark", now=time.time())
        return rollout

    def prepare(self, rollout: str) -> float:
        """Prepare the group of a rollout; return when the change that started it began."""
        while self.rollout(rollout).groups[0].started_at is None:
            began = time.perf_counter()
            assert self.preparer.step(now=time.time()), "nothing to prepare"
            time.sleep(0.001)
        return began

    def cross(self) -> None:
        """Have the first device report that the version failed there."""
        assert self.broker.first is not None
        self._hear(self.device.receive(*self.broker.first))

    def rollout(self, rollout: str) -> Rollout:
        """Return a rollout as it is stored."""
        with self.store.read() as tx:
            return rollouts.get(tx, rollout)

    def _hear(self, said: list[Any]) -> None:
        self.ingest.process([Incoming(one.topic, one.payload) for one in said], now=time.time())
        self.outbox.wake()
