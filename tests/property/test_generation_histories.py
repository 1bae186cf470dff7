"""Random lives of a fleet manager: crashes, backups that are restored, clocks that leap, devices that are away.

Whatever happens, no generation ever says two things, and once the faults are over the device acts on what its manager
wants, under the manager's own number. The numbers, the comparison of reports and the device's judgement are the
product's; the store is a value that can be put back.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field, replace

import msgspec
import pytest

from edgemm.messages import Action, Desired, Reported
from edgemm.messages.generations import NONCES
from edgemm.times import BUILD_TIME_S
from edgemm_fleet.director.composition import Numbering, Validity, WantedState, compose
from edgemm_fleet.director.standing import Standing, standing
from edgemm_fleet.records.records import DesiredRecord
from edgemm_runtime.agent.acceptance import Whom, judge
from edgemm_runtime.agent.state.trusted_time import TrustedTime

pytestmark = [pytest.mark.fleet, pytest.mark.runtime]
HISTORIES = 3000
STEPS = 40
DAY_S = 86400.0
BOOT = "0" * 16


@dataclass(frozen=True)
class Database:
    """What a backup holds: all that the manager remembers of one device."""

    wanted: str | None = None
    told: DesiredRecord | None = None
    report: Reported | None = None
    highest: int = 0
    last_now: float = 0.0


@dataclass
class History:
    """One manager, one device, and a broker that may keep the newest message of each or lose it."""

    draw: random.Random
    clocks_leap: bool
    time_s: float = BUILD_TIME_S + 30 * DAY_S
    off_s: float = 0.0
    nonce: int = 0
    database: Database = field(default_factory=Database)
    backups: list[Database] = field(default_factory=list)
    acts_on: Desired | None = None
    online: bool = True
    sequence: int = 0
    to_device: deque[Desired] = field(default_factory=lambda: deque(maxlen=4))
    to_manager: deque[Reported] = field(default_factory=lambda: deque(maxlen=4))
    said: dict[int, str] = field(default_factory=dict)
    twice: int = 0
    wishes: int = 0

    def step(self) -> None:
        """Let one thing happen."""
        self.time_s += self.draw.choice([0.0, 0.001, 0.5, 60.0, DAY_S / 4])
        happens = self.draw.choices(
            [self.wish, self.deliver, self.hear, self.restart, self.back_up, self.restore, self.leap, self.come_and_go],
            weights=[6, 8, 8, 2, 3, 2, 2, 2],
        )[0]
        happens()

    def settle(self) -> None:
        """End the faults, and let messages pass until nobody has anything more to say."""
        self.off_s, self.online = 0.0, True
        self.report()
        for _ in range(12):
            self.hear()
            self.deliver()

    def wish(self) -> None:
        """Want something that was never wanted before."""
        self.wishes += 1
        self.database = replace(self.database, wanted=f"wish {self.wishes}")
        self.write()

    def write(self, *, anew: bool = False) -> None:
        """Compose and send, as the director does."""
        known, now = self.database, self.time_s + self.off_s
        numbering = Numbering(max(now, known.last_now), self.nonce)
        actions = [Action(id=known.wanted, kind="selftest")] if known.wanted else []
        new = compose(
            WantedState("lab", "cam", [], actions),
            current=known.told.desired if known.told else None,
            highest_reported=known.highest,
            numbering=numbering,
            validity=Validity(),
            now=now,
            anew=anew,
        )
        if new is not None:
            text = new.content().decode()
            self.twice += self.said.setdefault(new.generation, text) != text
            told = DesiredRecord(desired=new, unsent=True, content_hash=new.content_hash())
            self.database = replace(known, told=told, last_now=numbering.time_s)
        if self.database.told is not None:
            self.to_device.append(self.database.told.desired)

    def deliver(self) -> None:
        """Hand the device a message, if it is there, and lose some."""
        if not self.online or not self.to_device:
            return
        new = self.to_device.popleft()
        now = TrustedTime(self.time_s, clock_synced=False)
        if judge(new, self.acts_on, whom=Whom("lab", "cam"), now=now).taken:
            self.acts_on = new
        self.report()

    def report(self) -> None:
        """Have the device say what it acts on."""
        self.sequence += 1
        known = self.acts_on
        said = Reported(
            fleet="lab",
            device="cam",
            boot=BOOT,
            boot_count=1,
            sequence=self.sequence,
            time="2026-12-01T00:00:00Z",
            clock_synced=True,
            generation=known.generation if known else 0,
            runtime="1.0.0",
        )
        self.to_manager.append(said if known is None else replace_hash(said, known.content_hash()))

    def hear(self) -> None:
        """Hand the manager a report, and let it answer."""
        if not self.to_manager:
            return
        said, known = self.to_manager.popleft(), self.database
        newer = known.report is None or said.order > known.report.order
        report = said if newer else known.report
        self.database = known = replace(known, report=report, highest=max(known.highest, said.generation))
        if known.told is None:
            return
        now = self.time_s + self.off_s
        found = standing(known.told, report, highest_reported=known.highest, now=now)
        assert found is not Standing.UNBELIEVABLE
        if found is not Standing.ANSWERED:
            self.write(anew=found is Standing.BEYOND)

    def restart(self) -> None:
        """Kill the manager and start it again."""
        self.nonce = self.draw.randrange(NONCES)

    def back_up(self) -> None:
        """Keep a copy of the database."""
        self.backups.append(self.database)

    def restore(self) -> None:
        """Put a copy back; its manager is another start, and sends what it finds."""
        if self.backups:
            self.database = self.draw.choice(self.backups)
            self.restart()
            self.to_device.clear()
            self.write()

    def leap(self) -> None:
        """Set the manager's clock."""
        if self.clocks_leap:
            self.off_s = self.draw.choice([0.0, -5.0, 5.0, -3600.0, 3600.0, -20 * DAY_S, 400 * DAY_S])

    def come_and_go(self) -> None:
        """Have the device come or go; on its way it may lose its last state, as storage does."""
        self.online = not self.online
        if self.online:
            self.report()


def replace_hash(said: Reported, digest: str) -> Reported:
    """Return a report with the hash of what the device acts on."""
    return msgspec.structs.replace(said, desired_hash=digest)


@pytest.mark.parametrize("clocks_leap", [False, True], ids=["good clock", "leaping clock"])
def test_no_generation_says_two_things_and_all_ends_well(clocks_leap: bool) -> None:
    twice = below = other = 0
    for seed in range(HISTORIES // 2):
        history = History(random.Random(seed), clocks_leap)
        history.restart()
        for _ in range(STEPS):
            history.step()
        history.settle()
        told = history.database.told
        twice += history.twice
        if told is not None:
            assert history.acts_on is not None
            below += told.desired.generation < history.acts_on.generation
            other += told.desired.content() != history.acts_on.content()
    assert (twice, below, other) == (0, 0, 0)
