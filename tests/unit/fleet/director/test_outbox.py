"""The outbox: what is taken back comes first, and nothing is sent that was taken back since it was read."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgemm_fleet.broker.broker_connection import Receipt
from edgemm_fleet.director.outbox import Outbox
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.rollout.pace import WorkPace
from edgemm_fleet.store import desired
from simulators.broker import LocalFleet

EVERYBODY = Group(percent=100)


class Line:
    """A connection that takes everything; `before` is called before each message."""

    def __init__(self) -> None:
        self.connected, self.connection = True, 1
        self.delivered: queue.SimpleQueue[Receipt] = queue.SimpleQueue()
        self.on_change: Callable[[], None] = lambda: None
        self.before: Callable[[str], None] = lambda _: None
        self.sent: list[str] = []

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> Receipt:
        device = topic.rsplit("/", 2)[1]
        self.sent.append(device)
        self.before(device)
        return Receipt(1, len(self.sent))


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    fleet = LocalFleet(tmp_path)
    fleet.add(*(f"cam-{number}" for number in range(6)))
    yield fleet
    fleet.store.close()


def make(fleet: LocalFleet, line: Line, **more: Any) -> Outbox:
    link: Any = line
    parts: dict[str, Any] = {"director": fleet.director, "link": link, "hand_outs": fleet.hand_outs}
    return Outbox(fleet.store, **parts, clock=lambda: fleet.now, **more)


def step(fleet: LocalFleet, line: Line, **more: Any) -> Callable[[], None]:
    outbox = make(fleet, line, **more)

    def one() -> None:
        outbox._wake.set()
        outbox._step(threading.Event())

    return one


def test_a_start_is_handed_out_by_who_sends(fleet: LocalFleet) -> None:
    line = Line()
    rollout = fleet.start(fleet.plan("1.0.0", EVERYBODY))
    assert set(fleet.states(rollout).values()) == {"prepared"}
    step(fleet, line)()
    assert sorted(line.sent) == sorted(fleet.devices)
    assert set(fleet.states(rollout).values()) == {"pending"}


@pytest.mark.parametrize("act", ["halt", "cancel", "roll back"])
def test_nothing_of_a_rollout_is_sent_after_it_was_broken_off(fleet: LocalFleet, act: str) -> None:
    line = Line()
    rollout = fleet.start(fleet.plan("1.0.0", EVERYBODY))

    def break_off(_device: str) -> None:
        line.before = lambda _: None
        if act == "halt":
            fleet.operations.halt(rollout, actor="person:ann", reason="enough", now=fleet.now)
        elif act == "cancel":
            fleet.operations.cancel(rollout, actor="person:ann", now=fleet.now)
        else:
            fleet.operations.roll_back(rollout, actor="person:ann", now=fleet.now)

    line.before = break_off
    one = step(fleet, line)
    one()
    assert len(line.sent) == 1, "the others were read, and noted as told, and were not sent"
    before = line.sent.copy()
    for _ in range(5):
        one()
    assert fleet.rollout(rollout).taken_back is None
    with fleet.store.read() as tx:
        told = desired.of(tx, list(fleet.devices))
    assert all(record.desired.models == () for record in told.values()), "nobody is told of it any more"
    assert line.sent[: len(before)] == before
    assert sorted(line.sent[1:]) == sorted(fleet.devices)


def test_what_is_taken_back_comes_before_what_another_rollout_tells(fleet: LocalFleet) -> None:
    line = Line()
    first = fleet.start(fleet.plan("1.0.0", EVERYBODY))
    one = step(fleet, line)
    one()
    fleet.add("zoo-1")
    fleet.operations.halt(first, actor="person:ann", reason="enough", now=fleet.now)
    second = fleet.start(fleet.plan("2.0.0", EVERYBODY))
    line.sent.clear()
    for _ in range(6):
        one()
    assert set(fleet.states(second).values()) == {"pending"}
    earlier = sorted(fleet.devices.keys() - {"zoo-1"})
    assert sorted(line.sent[:6]) == earlier, "nothing new is told meanwhile"
    assert sorted(line.sent[6:]) == sorted(fleet.devices)


def test_what_is_taken_back_is_sent_at_once_though_something_is_broken_off_meanwhile(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line()
    rollout = fleet.start(fleet.plan("1.0.0", EVERYBODY))
    one = step(fleet, line)
    one()
    take_back = fleet.hand_outs.take_back

    def beside(*, now: float) -> list[str] | None:
        taken_back = take_back(now=now)
        fleet.runner.epoch += 1
        return taken_back

    monkeypatch.setattr(fleet.hand_outs, "take_back", beside)
    fleet.operations.halt(rollout, actor="person:ann", reason="enough", now=fleet.now)
    line.sent.clear()
    one()
    assert sorted(line.sent) == sorted(fleet.devices)


def test_a_line_that_is_down_has_nobody_told(fleet: LocalFleet) -> None:
    line = Line()
    line.connected = False
    rollout = fleet.start(fleet.plan("1.0.0", EVERYBODY))
    step(fleet, line)()
    assert set(fleet.states(rollout).values()) == {"prepared"}


@pytest.mark.parametrize("act", ["halt", "roll back"])
def test_what_an_error_keeps_from_being_taken_back_is_not_sent(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    line = Line()
    rollout = fleet.start(fleet.plan("1.0.0", EVERYBODY))
    fleet.hand_outs.hand_out(now=fleet.now)
    if act == "halt":
        fleet.operations.halt(rollout, actor="person:ann", reason="enough", now=fleet.now)
    else:
        fleet.operations.roll_back(rollout, actor="person:ann", now=fleet.now)

    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(fleet.runner, "take_back", fail)
    monkeypatch.setattr(fleet.runner, "revert", fail)
    one = step(fleet, line)
    for _ in range(3):
        one()
        fleet.now += 0.4
    assert line.sent == []
    monkeypatch.undo()
    fleet.now += 2
    one()
    assert sorted(line.sent) == sorted(fleet.devices)


def test_a_line_that_confirms_nothing_is_given_no_more_than_it_has_room_for(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgemm_fleet.director.outbox._AT_ONCE", 2)
    monkeypatch.setattr(fleet.hand_outs, "_taking_back", WorkPace(least=1, most=1))
    line = Line()
    rollout = fleet.start(fleet.plan("1.0.0", EVERYBODY))
    while fleet.hand_outs.hand_out(now=fleet.now):
        pass
    fleet.operations.halt(rollout, actor="person:ann", reason="enough", now=fleet.now)
    one = step(fleet, line)
    for _ in range(9):
        one()
    assert len(line.sent) == 2
    monkeypatch.setattr("edgemm_fleet.director.outbox._AT_ONCE", 500)
    line.connection = 2  # what the first did not deliver is sent again, before all is taken back
    first, line.sent = line.sent, []
    one()
    assert set(first) < set(line.sent)
    assert fleet.rollout(rollout).taken_back is not None


def test_nobody_more_is_told_while_answers_wait_and_all_is_taken_back_meanwhile(
    fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet.hand_outs, "_telling", WorkPace(least=2, most=2))
    line, asked, room = Line(), list[float](), [True]

    def follows(since_s: float) -> bool:
        asked.append(since_s)
        return room[0]

    rollout = fleet.start(fleet.plan("1.0.0", EVERYBODY))
    one = step(fleet, line, follows=follows)
    one()
    room[0] = False
    for _ in range(3):
        one()
    assert len(line.sent) == 2
    assert asked[0] < asked[1] == asked[3], "since the last time that somebody was told"
    assert sorted(fleet.states(rollout).values()) == ["pending"] * 2 + ["prepared"] * 4, "nobody else is noted"
    fleet.operations.halt(rollout, actor="person:ann", reason="enough", now=fleet.now)
    for _ in range(5):
        one()
    assert fleet.rollout(rollout).taken_back is None
    assert set(fleet.states(rollout).values()) == {"withdrawn"}
    assert sorted(line.sent) == sorted(line.sent[:2] * 2)


def test_a_flood_does_not_hold_a_rollout_up(fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet.hand_outs, "_telling", WorkPace(least=2, most=2))
    monkeypatch.setattr("edgemm_fleet.director.outbox._TOLD_EVERY_S", 0.0)
    line = Line()
    fleet.start(fleet.plan("1.0.0", EVERYBODY))
    one = step(fleet, line, follows=lambda _: False)
    for _ in range(3):
        one()
    assert sorted(line.sent) == sorted(fleet.devices)


def test_what_the_broker_has_is_noted_of_many_messages_at_once(fleet: LocalFleet) -> None:
    line = Line()
    outbox = make(fleet, line)
    line.on_change()
    assert outbox._wake.is_set(), "a connection is looked at at once"
    outbox._step(threading.Event())
    for number in range(250):
        assert not outbox._wake.is_set()
        line.delivered.put(Receipt(1, number))
        line.on_change()
    assert outbox._wake.is_set()
    line.connected = False
    outbox._wake.clear()
    line.delivered = queue.SimpleQueue()
    line.on_change()
    assert outbox._wake.is_set()
