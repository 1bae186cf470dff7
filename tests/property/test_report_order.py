"""Any order, loss, repetition and replay of reports: a device is heard in the end, and nothing of before comes back."""

from __future__ import annotations

import random
from copy import copy
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from edgemm.messages import Reported
from edgemm_fleet.records.report_order import LastTold, Newest, following

pytestmark = pytest.mark.fleet


@dataclass(frozen=True)
class Signed:
    """A report, and when it was signed: what no manager can see."""

    report: Reported
    at: int


@dataclass
class Manager:
    """What the manager holds of one device."""

    told: LastTold = field(default_factory=LastTold)
    newest: Newest | None = None
    kept: Signed | None = None
    seen: list[Signed] = field(default_factory=list)

    def tell(self) -> None:
        number = self.told.generation + 1
        self.told = LastTold(number, f"{number:064x}")

    def hear(self, signed: Signed) -> bool:
        """Take a report; one that is ignored draws something new to echo."""
        newest = following(self.newest, signed.report, self.told)
        if newest is None:
            if self.newest is None or self.newest.told == self.told.generation:
                self.tell()
            return False
        self.newest, self.kept = newest, signed
        return True

    def hear_first(self, signed: Signed) -> bool:
        self.seen.append(signed)
        return self.hear(signed)


@dataclass
class Card:
    """What a device keeps, and what a copy of its card brings back."""

    boot_count: int = 1
    generation: int = 0


@dataclass
class Device:
    tells_hash: bool = True
    card: Card = field(default_factory=Card)
    sequence: int = 0
    signed: list[Signed] = field(default_factory=list)

    def start(self, *, ahead: int = 0) -> None:
        self.card.boot_count += 1 + ahead
        self.sequence = 0

    def obey(self, told: LastTold) -> None:
        self.card.generation = max(self.card.generation, told.generation)

    def report(self) -> Signed:
        self.sequence += 1
        number = self.card.generation
        said = Reported(
            fleet="lab", device="cam-1", boot=f"{self.card.boot_count:016x}", boot_count=self.card.boot_count,
            sequence=self.sequence, time="2027-01-15T08:00:00Z", clock_synced=True, generation=number,
            runtime="0.2.0", desired_hash=f"{number:064x}" if self.tells_hash and number else UNSET,
        )  # fmt: skip
        self.signed.append(Signed(said, at=len(self.signed)))
        return self.signed[-1]


def history(rng: random.Random, manager: Manager, device: Device, *, steps: int) -> None:
    """Let things happen in any order; what was heard once never takes the manager back."""
    copies = [copy(device.card)]

    def say() -> None:
        signed = device.report()
        if rng.random() < 0.7:
            manager.hear_first(signed)

    for _ in range(steps):
        match rng.randrange(8):
            case 0:
                manager.tell()
            case 1:
                device.obey(manager.told)
                say()
            case 2:
                device.start(ahead=rng.choice([0, 0, 10, 1000]))
                say()
            case 3:
                copies.append(copy(device.card))
            case 4:
                device.card = copy(rng.choice(copies))
                device.start()
                say()
            case 5 | 6 if manager.seen:
                replay(manager, rng.choice(manager.seen))
            case _:
                say()


def replay(manager: Manager, signed: Signed) -> None:
    before = manager.kept
    if manager.hear(signed) and before is not None:
        assert signed.at > before.at, "a report of before came back"


def connect(manager: Manager, device: Device) -> None:
    """Let a device come back as it does: it reports, obeys what it is told and reports that, also what is told anew."""
    device.start()
    for _ in range(2):
        manager.hear_first(device.report())
        device.obey(manager.told)
        manager.hear_first(device.report())


@example(seed=0, steps=0, tells_hash=True)
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 40), tells_hash=st.booleans())
def test_a_device_that_connects_is_heard_and_no_replay_comes_back(seed: int, steps: int, tells_hash: bool) -> None:
    rng = random.Random(seed)
    manager, device = Manager(), Device(tells_hash=tells_hash)
    manager.tell()
    history(rng, manager, device, steps=steps)
    connect(manager, device)
    assert manager.kept == device.signed[-1]
    for signed in rng.sample(manager.seen, len(manager.seen)):
        replay(manager, signed)
    assert manager.kept == device.signed[-1]


@example(seed=242384, steps=19)
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 40))
def test_what_never_reached_the_manager_is_no_longer_believed_once_the_device_has_proved_itself(
    seed: int, steps: int
) -> None:
    rng = random.Random(seed)
    manager, device = Manager(), Device()
    manager.tell()
    history(rng, manager, device, steps=steps)
    device.obey(manager.told)
    device.start(ahead=10_000)
    assert manager.hear_first(device.report()), "so that lower numbers have to be proved"
    device.card = Card(boot_count=0)  # a copy of before the first start
    connect(manager, device)
    assert manager.kept == device.signed[-1]
    for signed in rng.sample(device.signed[:-1], len(device.signed) - 1):
        manager.hear(signed)
        assert manager.kept == device.signed[-1], "what was signed before, in whatever order"


def test_what_was_told_before_the_newest_report_proves_nothing() -> None:
    manager, device = Manager(), Device()
    manager.tell()
    device.obey(manager.told)
    first, second = device.report(), device.report()
    device.start()
    third = device.report()
    manager.hear_first(third)
    assert not manager.hear(first)
    assert not manager.hear(second)
    assert manager.kept == third
