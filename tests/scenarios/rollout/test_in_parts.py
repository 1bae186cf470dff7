"""Rollouts in parts: a manager that is killed anywhere in them forgets nobody and tells nobody twice differently."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from edgemm.messages import MAX_MODELS, DesiredModel
from edgemm.states import RolloutState
from edgemm_fleet.records.members import MemberState
from edgemm_fleet.records.rollout_plan import Group, Selector
from edgemm_fleet.rollout import hand_outs, pace, preparer, preparing
from edgemm_fleet.store import Store, Transaction, assignments, devices, rollouts
from edgemm_fleet.store.membership import member_counts
from simulators import member_counting
from simulators.broker import LocalFleet, digest_of
from simulators.device import Outcome
from simulators.member_selection import MatchedDevice, select_members

ANN, NAMES = "person:ann", tuple(f"cam-{number:02}" for number in range(9))
EVERYBODY = Group(percent=100, deadline_s=600)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nine devices be many."""
    monkeypatch.setattr(preparing, "_LITTLE", 0)
    monkeypatch.setattr(preparer, "_CHOSEN", 4)
    monkeypatch.setattr(preparer, "_AT_ONCE", (2, 2))
    monkeypatch.setattr(hand_outs, "_NEVER_TOLD_AT_ONCE", (2, 2))
    monkeypatch.setattr(hand_outs, "_LOOKED_AT", 2)
    defaults = (pace.WorkPace.__init__.__kwdefaults__ or {}) | {"least": 2, "most": 2}
    monkeypatch.setattr(pace.WorkPace.__init__, "__kwdefaults__", defaults)


@pytest.fixture
def fleet(small_parts: None, tmp_path: Path) -> Iterator[LocalFleet]:
    """Nine devices that run version 1, of which two are away."""
    fleet = LocalFleet(tmp_path)
    fleet.add(*NAMES)
    fleet.run("1.0.0", EVERYBODY)
    for name in NAMES[:2]:
        fleet.devices[name].silent = True
        with fleet.store.write() as tx:
            presence = devices.get(tx, name).presence
            devices.set_presence(tx, name, replace(presence, online=False))
    fleet.sent.clear()
    yield fleet
    fleet.store.close()


class KilledError(Exception):
    """The manager was killed."""


class MortalStore(Store):
    """A store whose manager is killed at a write: before it is durable, or just after."""

    left: int | None = None
    after = False

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        with super().write() as tx:
            yield tx
            if self._ends(after=False):
                raise KilledError
        if self._ends(after=True):
            raise KilledError

    def _ends(self, *, after: bool) -> bool:
        if self.left is None or after is not self.after:
            return False
        self.left -= 1
        return self.left < 0


def check_counts(fleet: LocalFleet, *ids: str) -> None:
    with fleet.store.read() as tx:
        for rollout in ids:
            assert member_counts.of(tx, rollout) == member_counting.recounted(tx, rollout)


def test_a_large_group_is_prepared_in_parts_and_starts_when_it_is_complete(fleet: LocalFleet) -> None:
    rollout = fleet.start(fleet.plan("2.0.0", Group(count=3), EVERYBODY))
    sizes = []
    while fleet.rollout(rollout).groups[0].started_at is None:
        assert fleet.preparer.step(now=fleet.now)
        sizes.append(len(fleet.members(rollout)))
        assert fleet.sent == [], "nobody is told of a group that has not started"
    assert sizes == [0, 2, 3, 3]
    progress = fleet.rollout(rollout).groups[0]
    assert (progress.size, progress.matching, progress.preparing_at) == (3, 9, fleet.now)
    assert set(fleet.states(rollout).values()) == {"prepared"}
    fleet.settle()
    assert fleet.rollout(rollout).current_group == 1
    assert sorted(fleet.members(rollout)) == list(NAMES)
    check_counts(fleet, rollout)


@pytest.mark.parametrize("size", [Group(count=1), Group(count=4), Group(percent=50), EVERYBODY], ids=str)
@pytest.mark.parametrize("where", [None, "cam", "online"])
def test_the_choice_in_the_database_is_the_one_that_the_preview_tells(
    fleet: LocalFleet, size: Group, where: str | None
) -> None:
    filters = {None: Selector(), "cam": Selector(where="id^=cam-0"), "online": Selector(where="online or id^=cam")}
    plan = fleet.plan("2.0.0", size, EVERYBODY, selector=filters[where])
    rollout = fleet.start(plan)
    while fleet.rollout(rollout).groups[0].started_at is None:
        assert fleet.preparer.step(now=fleet.now)
    candidates = [MatchedDevice(name, name not in NAMES[:2]) for name in NAMES]
    assert sorted(fleet.members(rollout)) == select_members(rollout, plan, 0, candidates=candidates, members={})


def test_a_manager_that_is_killed_while_it_prepares_goes_on_behind_what_is_there(fleet: LocalFleet) -> None:
    plan = fleet.plan("2.0.0", Group(count=5), EVERYBODY)
    rollout = fleet.start(plan)
    while fleet.rollout(rollout).groups[0].started_at is None:
        assert fleet.preparer.step(now=fleet.now)
        fleet.restart()
    candidates = [MatchedDevice(name, name not in NAMES[:2]) for name in NAMES]
    assert sorted(fleet.members(rollout)) == select_members(rollout, plan, 0, candidates=candidates, members={})
    check_counts(fleet, rollout)


def test_a_pause_stops_preparing_and_handing_out_and_a_halt_ends_both(fleet: LocalFleet) -> None:
    rollout = fleet.start(fleet.plan("2.0.0", EVERYBODY))
    for _ in range(3):
        fleet.preparer.step(now=fleet.now)
    fleet.operations.pause(rollout, actor=ANN, reason="x", limit_s=1000, now=fleet.now)
    before = fleet.states(rollout)
    fleet.wait(60)
    assert fleet.states(rollout) == before
    assert fleet.sent == []
    fleet.operations.resume(rollout, actor=ANN, now=fleet.now)
    while fleet.rollout(rollout).groups[0].started_at is None:
        assert fleet.preparer.step(now=fleet.now)
    told = fleet.hand_outs.hand_out(now=fleet.now)
    fleet.operations.pause(rollout, actor=ANN, reason="x", limit_s=1000, now=fleet.now)
    fleet.wait(60)
    assert sorted(fleet.sent) == sorted(told), "who was noted as told before the pause"
    fleet.operations.halt(rollout, actor=ANN, reason="enough", now=fleet.now)
    fleet.settle()
    assert set(fleet.states(rollout).values()) <= {"withdrawn", "committed"}
    assert sorted(set(fleet.sent)) == sorted(told), "nobody else ever heard of it"
    check_counts(fleet, rollout)


def test_who_is_not_told_by_the_deadline_of_its_group_was_not_reached(fleet: LocalFleet) -> None:
    rollout = fleet.start(fleet.plan("2.0.0", Group(percent=100, deadline_s=100, min_reached=0.0)))
    while fleet.preparer.step(now=fleet.now):
        pass
    fleet.now += 100
    fleet.runner.tick(fleet.store, now=fleet.now)
    assert {member.reason for member in fleet.members(rollout).values()} == {"unreached"}
    assert set(fleet.states(rollout).values()) == {"timed_out"}
    check_counts(fleet, rollout)


def test_reports_speak_of_the_rollout_that_told_the_device_not_of_the_one_that_is_to(fleet: LocalFleet) -> None:
    fleet.devices["cam-05"].outcomes[digest_of("2.0.0")] = Outcome.HANG
    first = fleet.run("2.0.0", EVERYBODY)
    assert fleet.states(first)["cam-05"] == "activating"
    second = fleet.start(fleet.plan("3.0.0", EVERYBODY, supersedes=first))
    while fleet.preparer.step(now=fleet.now):
        pass
    assert fleet.states(second)["cam-05"] == "prepared"
    fleet.deliver(fleet.devices["cam-05"].finish("digits"))
    assert fleet.states(first)["cam-05"] == "committed"
    fleet.settle()
    assert fleet.running("cam-05") == "3.0.0"
    check_counts(fleet, first, second)


def _story(fleet: LocalFleet, acts: list[str]) -> str:
    """Do one after another what is left of a story, each of which is the same twice."""
    while acts:
        with fleet.store.read() as tx:
            ids = [one.id for one in rollouts.page(tx).items if one.plan.version == "2.0.0"]
        match acts[0]:
            case "draft":
                ids = ids or [fleet.operations.create(fleet.plan("2.0.0", EVERYBODY), actor=ANN, now=fleet.now).id]
            case "start":
                if fleet.rollout(ids[0]).state is RolloutState.DRAFT:
                    fleet.operations.start(ids[0], actor=ANN, now=fleet.now)
            case "prepare":
                while fleet.preparer.step(now=fleet.now):
                    pass
            case "tell some":
                fleet.hand_outs.hand_out(now=fleet.now)
                fleet.hand_outs.hand_out(now=fleet.now)
            case "halt":
                fleet.operations.halt(ids[0], actor=ANN, reason="enough", now=fleet.now)
            case "settle":
                fleet.settle()
        acts.pop(0)
    return ids[0]


@pytest.mark.sqlite  # it replaces the store's class
@pytest.mark.parametrize("after", [False, True], ids=["before it is durable", "just after"])
@pytest.mark.parametrize("halted", [False, True], ids=["to the end", "halted"])
def test_a_manager_that_is_killed_at_any_write_forgets_nobody(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch, halted: bool, after: bool
) -> None:
    monkeypatch.setattr("simulators.broker.Store", MortalStore)
    acts = ["draft", "start", "prepare", "tell some", *(["halt"] if halted else []), "settle"]
    for name in NAMES[2:4]:
        fleet.devices[name].outcomes[digest_of("2.0.0")] = Outcome.SLOW_DOWNLOAD
    fleet.restart()
    number = 0
    while acts:  # killed at the first write, then at the second of what is left, …
        store = fleet.store
        assert isinstance(store, MortalStore)
        store.left, store.after = number % 4, after
        number += 1
        with suppress(KilledError):
            rollout = _story(fleet, acts)
        store.left = None
        fleet.restart()
        fleet.now += 1
        if number > 200:
            pytest.fail("it never ends")
    fleet.settle()
    for name in NAMES[:2]:
        fleet.connect(name)
    check_counts(fleet, rollout)
    members = fleet.members(rollout)
    assert sorted(members) == list(NAMES), "nobody is forgotten"
    for name, device in fleet.devices.items():
        assert device.generations == sorted(set(device.generations)), "nothing else is told under one generation"
        assert device.installs.count((digest_of("2.0.0"), 1)) <= 1
        if halted:
            assert members[name].state in {MemberState.WITHDRAWN, MemberState.COMMITTED}
            assert fleet.wanted(name) == fleet.running(name), "nobody stays told"
        elif name not in NAMES[2:4]:
            assert fleet.running(name) == "2.0.0"


def test_those_who_ended_are_looked_for_among_a_few_members_at_a_time(fleet: LocalFleet) -> None:
    ended = ("cam-03", "cam-04", "cam-08")
    for name in ended:
        fleet.devices[name].outcomes[digest_of("2.0.0")] = Outcome.SELFTEST_FAILED
    rollout = fleet.run("2.0.0", Group(percent=100, deadline_s=600, error_threshold=0.9, min_reached=0.1))
    fleet.operations.halt(rollout, actor=ANN, reason="enough", now=fleet.now)
    cursors = list[str]()
    while (told := fleet.hand_outs.take_back(now=fleet.now)) is not None:
        at = fleet.rollout(rollout).taken_back
        if at and at not in cursors:
            cursors.append(at)
            assert len(told) <= 2
    assert cursors == ["cam-01", "cam-03", "cam-05", "cam-07"], "nobody was passed over unseen"
    fleet.settle()
    assert {fleet.wanted(name) for name in ended} == {"1.0.0"}


class LookedStore(Store):
    """A store that knows of reads in which something is written: they keep SQLite's log from beginning anew."""

    reads = 0
    found = False

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        self.reads += 1
        try:
            with super().read() as tx:
                yield tx
        finally:
            self.reads -= 1

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        self.found |= self.reads > 0
        with super().write() as tx:
            yield tx


@pytest.mark.sqlite  # it replaces the store's class
@pytest.mark.parametrize("last", ["halt", "roll back"])
def test_nothing_is_written_while_the_same_thread_reads(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    monkeypatch.setattr("simulators.broker.Store", LookedStore)
    fleet.restart()
    rollout = _story(fleet, ["draft", "start", "prepare", "tell some"])
    if last == "halt":
        fleet.operations.halt(rollout, actor=ANN, reason="enough", now=fleet.now)
    else:
        fleet.operations.roll_back(rollout, actor=ANN, now=fleet.now)
    fleet.settle()
    store = fleet.store
    assert isinstance(store, LookedStore)
    assert not store.found


def test_the_database_is_told_of_members_as_they_become_many(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = list[int]()

    def estimate(tx: Transaction) -> None:
        [newest, *_] = rollouts.page(tx).items
        numbers.append(sum(rollouts.numbers_in_groups(tx, newest.id).values()))

    monkeypatch.setattr("edgemm_fleet.store.membership.prepared.estimate", estimate)
    monkeypatch.setattr(preparer, "_ESTIMATED_AT", 1)
    monkeypatch.setattr(preparer, "_GROWN", 3)
    fleet.run("2.0.0", EVERYBODY)
    assert numbers == [2, 4, 9]


def test_a_roll_back_goes_on_behind_those_whom_it_told(fleet: LocalFleet) -> None:
    rollout = fleet.run("2.0.0", EVERYBODY)
    fleet.operations.roll_back(rollout, actor=ANN, now=fleet.now)
    assert fleet.rollout(rollout).taken_back == ""
    while fleet.hand_outs.take_back(now=fleet.now) is not None:
        fleet.restart()
    assert fleet.rollout(rollout).taken_back is None
    for name in NAMES[:2]:
        fleet.connect(name)
    fleet.settle()
    assert fleet.rollout(rollout).state is RolloutState.ROLLED_BACK
    assert {fleet.running(name) for name in NAMES} == {"1.0.0"}
    check_counts(fleet, rollout)


def test_a_device_without_room_for_another_model_is_excused_and_holds_nobody_up(fleet: LocalFleet) -> None:
    for number in range(MAX_MODELS):
        other = DesiredModel(name=f"m{number}", version="1.0.0", digest=digest_of("1.0.0"))
        with fleet.store.write() as tx:
            assignments.assign(tx, {"cam-08": other})
    rollout = fleet.run("2.0.0", Group(percent=100, min_reached=0.1, deadline_s=100))
    member = fleet.members(rollout)["cam-08"]
    assert (member.state, member.reason) == (MemberState.EXCUSED, "desired_too_large")
    assert fleet.running("cam-08") == "1.0.0"
    assert {fleet.running(name) for name in NAMES[2:8]} == {"2.0.0"}
    check_counts(fleet, rollout)


def test_nobody_is_told_after_the_deadline_of_its_group(fleet: LocalFleet) -> None:
    rollout = fleet.start(fleet.plan("2.0.0", Group(percent=100, deadline_s=100)))
    while fleet.preparer.step(now=fleet.now):
        pass
    fleet.now += 100  # the manager was away
    assert fleet.hand_outs.hand_out(now=fleet.now) == []
    assert set(fleet.states(rollout).values()) == {"prepared"}
