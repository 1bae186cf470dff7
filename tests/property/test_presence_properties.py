"""The presence of a device heals after any history: forged, lost, repeated and late words, starts of the manager."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from edgemm.messages import Reported, Status
from edgemm_fleet.ingest.presence import attest, observe, spoke, unanswered
from edgemm_fleet.records.records import Presence

pytestmark = pytest.mark.fleet

NOW = 1_800_000_000.0
BOOTS = [f"{number:016x}" for number in range(4)]
STRANGE = "f" * 16
HIGH = [1, 2, 3, 5, 2**31, 2**32]


@dataclass
class Manager:
    """What the manager holds of one device, and how it takes its messages."""

    presence: Presence = field(default_factory=Presence)
    newest: tuple[int, int] = (0, 0)
    now: float = NOW

    def status(self, status: Status) -> None:
        self.now += 1
        self.presence = observe(self.presence, status, now=self.now)

    def report(self, report: Reported, *, live: bool = True) -> None:
        self.now += 1
        if report.order > self.newest:
            self.newest = report.order
            self.presence = attest(self.presence, report, live=live, now=self.now)
        else:
            self.presence = spoke(self.presence, live=live, now=self.now)

    def telemetry(self) -> None:
        self.presence = spoke(self.presence, live=True, now=self.now)


@dataclass
class Device:
    """An honest device, with what the broker retains of it."""

    tells_connection: bool = True
    alive: bool = False
    boot: int = 0
    connection: int = 0
    sequence: int = 0
    retained: dict[str, Status | Reported] = field(default_factory=dict)

    def status(self, *, online: bool) -> Status:
        count, number = self.boot + 1, max(1, self.connection)
        said = Status(online=online, boot=BOOTS[self.boot], boot_count=count, connection=number)
        self.retained["status"] = said
        return said

    def report(self) -> Reported:
        self.sequence += 1
        said = Reported(
            fleet="lab", device="cam-1", boot=BOOTS[self.boot], boot_count=self.boot + 1, sequence=self.sequence,
            time="2027-01-15T08:00:00Z", clock_synced=True, generation=0, runtime="0.1.0",
            connection=max(1, self.connection) if self.tells_connection else UNSET,
        )  # fmt: skip
        self.retained["report"] = said
        return said

    def connect(self) -> None:
        self.alive, self.connection = True, self.connection + 1

    def restart(self) -> None:
        if self.boot + 1 < len(BOOTS):
            self.boot, self.connection, self.sequence = self.boot + 1, 0, 0


def ask(manager: Manager, device: Device) -> None:
    """Settle a doubt as the manager does: the device answers, or is taken for gone."""
    if manager.presence.doubted_at is None:
        return
    if device.alive:
        manager.report(device.report())
    else:
        manager.presence = unanswered(manager.presence)


def history(rng: random.Random, manager: Manager, device: Device, *, steps: int) -> None:
    """Let things happen in any order."""
    said: list[Status | Reported] = []

    def deliver(message: Status | Reported) -> None:
        said.append(message)
        if rng.random() < 0.3:
            return  # lost
        take(message)
        if rng.random() < 0.3:
            take(rng.choice(said))  # one of before comes again

    def take(message: Status | Reported, *, live: bool = True) -> None:
        if isinstance(message, Status):
            manager.status(message)
        else:
            manager.report(message, live=live)

    for _ in range(steps):
        match rng.randrange(8):
            case 0:
                device.connect()
                deliver(device.status(online=True))
                deliver(device.report())
            case 1 if device.alive:
                device.alive = False
                deliver(device.status(online=False))
            case 2:
                device.alive = False
                device.restart()
            case 3 if device.alive:
                deliver(device.report())
            case 4:  # the manager starts anew, and hears what the broker retained
                for message in rng.sample(list(device.retained.values()), len(device.retained)):
                    take(message, live=False)
            case 5:
                manager.telemetry()
            case 6:
                ask(manager, device)
            case _:
                boot = rng.choice([STRANGE, *BOOTS])
                count = rng.choice([rng.choice(HIGH), BOOTS.index(boot) + 1 if boot in BOOTS else 1])
                forged = Status(online=rng.random() < 0.5, boot=boot, boot_count=count, connection=rng.choice(HIGH))
                manager.status(forged)
                if rng.random() < 0.3:
                    device.retained["status"] = forged


@given(seed=st.integers(0, 2**32), steps=st.integers(0, 25), tells=st.booleans())
def test_a_device_that_connects_anew_and_reports_is_online_and_its_will_then_counts(
    seed: int, steps: int, tells: bool
) -> None:
    manager, device = Manager(), Device(tells_connection=tells)
    history(random.Random(seed), manager, device, steps=steps)
    device.connect()
    manager.status(device.status(online=True))
    manager.report(device.report())
    assert manager.presence.online
    assert manager.presence.doubted_at is None
    if not tells:  # of an earlier version: what a stranger said of its own start's connections may stand above its own
        return
    assert (manager.presence.boot, manager.presence.connection) == (BOOTS[device.boot], device.connection)
    manager.status(device.status(online=False))
    assert not manager.presence.online


@given(seed=st.integers(0, 2**32), steps=st.integers(0, 25))
def test_a_report_alone_is_enough(seed: int, steps: int) -> None:
    manager, device = Manager(), Device()
    device.connect()
    history(random.Random(seed), manager, device, steps=steps)
    device.connect()
    manager.report(device.report())
    assert manager.presence.online
    assert manager.presence.doubted_at is None


@example(seed=2264, steps=20, tells=False)  # its own start under a forged count, which a report puts right
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 25), tells=st.booleans())
def test_what_was_claimed_of_a_device_is_settled_by_asking_it(seed: int, steps: int, tells: bool) -> None:
    manager, device = Manager(), Device(tells_connection=tells)
    device.connect()
    manager.status(device.status(online=True))
    manager.report(device.report())
    history(random.Random(seed), manager, device, steps=steps)
    if device.alive:
        manager.telemetry()
        ask(manager, device)
        assert manager.presence.online
    manager.status(Status(online=True, boot=STRANGE, boot_count=2**36, connection=2**40))
    ask(manager, device)
    assert manager.presence.online is device.alive
    manager.status(Status(online=False, boot=STRANGE, boot_count=2**36 + 1, connection=2**40))
    manager.telemetry()
    ask(manager, device)
    assert manager.presence.online is device.alive


@given(seed=st.integers(0, 2**32))
def test_statuses_of_one_start_end_alike_in_whatever_order_they_come(seed: int) -> None:
    rng = random.Random(seed)
    last = rng.randint(1, 4)
    gone = rng.random() < 0.5
    said = [
        Status(online=online, boot=BOOTS[0], boot_count=1, connection=number)
        for number in range(1, last + 1)
        for online in (True, False)
        if online or number < last or gone
    ]
    told = rng.choices(said, k=len(said)) + said
    rng.shuffle(told)
    manager = Manager()
    for status in told:
        manager.status(status)
    assert manager.presence.online is not gone
    assert manager.presence.duplicate_at is None


@given(seed=st.integers(0, 2**32), steps=st.integers(0, 25))
def test_a_second_device_that_was_only_claimed_is_forgotten(seed: int, steps: int) -> None:
    rng = random.Random(seed)
    manager, device = Manager(), Device()
    device.connect()
    manager.status(device.status(online=True))
    manager.report(device.report())
    for _ in range(steps):
        high = rng.choice(HIGH[3:])
        manager.status(Status(online=rng.random() < 0.5, boot=STRANGE, boot_count=high, connection=high))
        manager.status(device.status(online=rng.random() < 0.5))
        if rng.random() < 0.5:
            device.connect()
            manager.status(device.status(online=True))
    device.connect()
    manager.status(device.status(online=True))
    manager.report(device.report())
    assert manager.presence.online
    assert manager.presence.duplicate_at is None
