"""A fleet in one thread: the manager's real store, ingest, director and rollouts, and devices joined to them directly.

What the broker would carry is handed over by `settle`, in an order that a test may disturb. The clock is a number.

    fleet = LocalFleet(tmp_path)
    fleet.add("cam-1")
    rollout = fleet.start(fleet.plan("1.0.0", groups=(Group(count=1),)))
    fleet.settle()
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner

from edgemm import topics
from edgemm.messages import encode_control
from edgemm.topics import Channel
from edgemm.trust import signing
from edgemm_fleet.broker.passwords import hash_password
from edgemm_fleet.director.answering import Answering
from edgemm_fleet.director.director import Director
from edgemm_fleet.director.readmission import readmit
from edgemm_fleet.ingest.batch import Ingest
from edgemm_fleet.ingest.reading import Incoming
from edgemm_fleet.records.members import Member
from edgemm_fleet.records.progress import Rollout
from edgemm_fleet.records.records import Device, ModelRecord, VersionRecord
from edgemm_fleet.records.rollout_plan import Group, RolloutPlan
from edgemm_fleet.rollout.hand_outs import HandOuts
from edgemm_fleet.rollout.operations import RolloutOperations
from edgemm_fleet.rollout.preparer import Preparer
from edgemm_fleet.rollout.runner import Runner
from edgemm_fleet.store import Store, Transaction, assignments, desired, devices, models, rollouts
from simulators.device import Outgoing, SimulatedDevice

FLEET, MODEL = "lab", "digits"
START = 1_800_000_000.0


def digest_of(version: str) -> str:
    """Return the digest of a made-up bundle."""
    return hashlib.sha256(f"{MODEL} {version}".encode()).hexdigest()


def enrol(tx: Transaction, device: str, signer: CryptoSigner, *, labels: dict[str, str], password: str = "pw") -> None:
    """Record a device as enrolment does."""
    key = signer.public_key
    record = Device(
        id=device,
        name=device,
        labels=labels,
        key=signing.key_document(key),
        key_id=key.keyid,
        token_id="t",
        runtime="0.1.0",
        platform="simulated",
        enrolled_at=START,
    )
    bearer_hash = hashlib.sha256(device.encode()).hexdigest()
    devices.add(tx, record, bearer_hash=bearer_hash, broker_hash=hash_password(password))


def publish(tx: Transaction, *versions: str) -> None:
    """Record versions of the model as publishing does."""
    if models.find_model(tx, MODEL) is None:
        models.add_model(tx, ModelRecord(name=MODEL, publisher={}, minimum_version=None, created_at=START))
    for version in versions:
        record = VersionRecord(
            model=MODEL,
            version=version,
            digest=digest_of(version),
            size_bytes=1000,
            published_by="person:ann",
            published_at=START,
        )
        models.add_version(tx, record, blob_digests=())


class LocalFleet:
    """One manager and its devices."""

    def __init__(self, folder: Path, *, versions: tuple[str, ...] = ("1.0.0", "2.0.0", "3.0.0")) -> None:
        self.path = folder / "fleet.db"
        self.now = START
        self.signer = CryptoSigner.generate_ed25519()
        self.devices: dict[str, SimulatedDevice] = {}
        self.disturb: Callable[[list[Outgoing]], list[Outgoing]] = list
        self.sent: list[str] = []
        self.open()
        with self.store.write() as tx:
            publish(tx, *versions)

    def open(self) -> None:
        """Start the manager on the database that is there."""
        self.start_on(Store.open(self.path))

    def start_on(self, store: Store) -> None:
        """Start the manager on a database that is open."""
        self.store = store
        director = Director(FLEET, self.signer)
        self.runner = Runner(director)
        self.director = director
        self.ingest = Ingest(self.store, fleet=FLEET, director=director, runner=self.runner)
        self.operations = RolloutOperations(self.store, self.runner, wake=lambda: None)
        self.hand_outs = HandOuts(self.store, self.runner)
        self.preparer = Preparer(self.store, self.runner, clock=lambda: self.now)

    def restart(self) -> None:
        """Kill the manager and start it again; devices notice nothing but a new connection."""
        self.store.close()
        self.open()
        for device in self.devices.values():
            self.deliver(device.connect())

    def add(self, *names: str, online: bool = True, **labels: str) -> None:
        """Enrol devices, which connect unless told otherwise."""
        for name in names:
            signer = CryptoSigner.generate_ed25519()
            with self.store.write() as tx:
                enrol(tx, name, signer, labels=labels)
            self.devices[name] = SimulatedDevice(FLEET, name, signer=signer, director=[self.signer.public_key])
            self.devices[name].silent = not online
            self.deliver(self.devices[name].connect())

    def readmit(self, name: str, *, says: Callable[[], None] = lambda: None, **changes: Any) -> None:
        """Let a device in anew: removed and enrolled again with its key, on an empty card; it connects.

        `says`: what reaches the manager before.
        """
        old = self.devices[name]
        with self.store.write() as tx:
            devices.remove(tx, name, now=self.now)
            self.runner.leave(tx, name, now=self.now)
        with self.store.write() as tx:
            back = replace(devices.get(tx, name), enrolled_at=self.now)
            readmit(tx, back, bearer_hash=f"again {name} {self.now}", broker_hash="again")
        fresh = SimulatedDevice(FLEET, name, signer=old.signer, director=old.director, **changes)
        self.devices[name] = fresh
        says()
        self.deliver(fresh.connect())
        self.settle()

    def connect(self, name: str) -> None:
        """Bring a device back that was silent."""
        self.devices[name].silent = False
        self.deliver(self.devices[name].connect())
        self.settle()

    def plan(self, version: str, *groups: Group, **settings: Any) -> RolloutPlan:
        """Return a plan for one of the versions."""
        return RolloutPlan(model=MODEL, version=version, digest=digest_of(version), groups=groups, **settings)

    def start(self, plan: RolloutPlan) -> str:
        """Create and start a rollout; return its id."""
        rollout = self.operations.create(plan, actor="person:ann", now=self.now)
        self.operations.start(rollout.id, actor="person:ann", now=self.now)
        return rollout.id

    def run(self, version: str, *groups: Group, **settings: Any) -> str:
        """Start a rollout and let everything happen that happens without time passing."""
        rollout = self.start(self.plan(version, *groups, **settings))
        self.settle()
        return rollout

    def deliver(self, messages: list[Outgoing]) -> None:
        """Hand messages of devices to the manager, and its acks to the devices."""
        batch = [Incoming(message.topic, message.payload) for message in self.disturb(messages)]
        if not batch:
            return
        for device, acks in self.ingest.process(batch, now=self.now).items():
            for ack in acks:
                self.devices[device].receive(topics.topic(FLEET, device, Channel.ACK), encode_control(ack))

    def hand_out(self) -> None:
        """Have all be told that is to be told, and all be taken back before that is to be taken back."""
        while self.preparer.step(now=self.now):
            pass
        while self.hand_outs.take_back(now=self.now) is not None:
            pass
        while self.hand_outs.hand_out(now=self.now):
            pass

    def send(self) -> list[Outgoing]:
        """Hand every unsent `desired` to its device; return what the devices say to it."""
        self.hand_out()
        with self.store.write() as tx:
            waiting = desired.unsent(tx, limit=100_000)
            desired.mark_sent(tx, waiting, now=self.now)
        said = []
        for wanted in waiting:
            self.sent.append(wanted.device)
            topic = topics.topic(FLEET, wanted.device, Channel.DESIRED)
            said += self.devices[wanted.device].receive(topic, self.director.seal(wanted))
        return said

    def settle(self) -> None:
        """Exchange messages until nobody has anything more to say."""
        while True:
            self.hand_out()
            with self.store.read() as tx:
                if not desired.unsent(tx, limit=1):
                    return
            self.deliver(self.send())

    def wait(self, seconds: float) -> None:
        """Let time pass, and what follows from it happen."""
        self.now += seconds
        self.runner.tick(self.store, now=self.now)
        with self.store.write() as tx:
            Answering(self.director).again(tx, now=self.now)
        self.settle()

    def rollout(self, rollout: str) -> Rollout:
        """Return a rollout as it is stored."""
        with self.store.read() as tx:
            return rollouts.get(tx, rollout)

    def members(self, rollout: str) -> dict[str, Member]:
        """Return a rollout's members by device."""
        with self.store.read() as tx:
            return {member.device: member for member in rollouts.members_of(tx, rollout)}

    def states(self, rollout: str) -> dict[str, str]:
        """Return where each member of a rollout stands."""
        return {device: member.state.value for device, member in self.members(rollout).items()}

    def running(self, name: str) -> str | None:
        """Return the version that answers requests on a device."""
        active = self.devices[name].active.get(MODEL)
        return active.version if active else None

    def wanted(self, name: str) -> str | None:
        """Return the version that the fleet wants of a device."""
        with self.store.read() as tx:
            assigned = assignments.of(tx, [name]).get(name, {}).get(MODEL)
        return assigned.version if assigned else None
