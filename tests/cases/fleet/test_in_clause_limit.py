"""40,000 devices, and a Python whose SQLite takes 32,766 variables in a statement, as those of python.org and uv do.

Right: a rollout to all is created, started, told and halted. Here both numbers are a tenth; whatever else is asked of
the store about all devices at once is asked, too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from edgemm.messages import DesiredShadow
from edgemm_fleet.records.members import MemberState
from edgemm_fleet.records.rollout_plan import Group, Selector
from edgemm_fleet.store import actions, assignments, desired, devices, reported, rollouts, schema, shadows
from simulators.broker import MODEL, START, LocalFleet, digest_of

pytestmark = pytest.mark.fleet
DEVICES, MOST_VARIABLES = 4000, 3276


def limited(connection: Any, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, MOST_VARIABLES)


@pytest.fixture
def few_variables() -> Iterator[None]:
    event.listen(Engine, "connect", limited)
    yield
    event.remove(Engine, "connect", limited)


@pytest.fixture
def fleet(few_variables: None, tmp_path: Path) -> Iterator[LocalFleet]:
    fleet = LocalFleet(tmp_path)
    fleet.add("cam")
    with fleet.store.write() as tx:
        table = schema.devices
        values = dict(tx.execute(table.select().where(table.c.id == "cam")).mappings().one())
        copies = [
            values | {"id": name, "name": name, "key_id": f"key {name}", "bearer_hash": f"bearer {name}"}
            for name in (f"copy-{number:07d}" for number in range(DEVICES))
        ]
        tx.execute(table.insert(), copies)
    yield fleet
    fleet.store.close()


def test_a_rollout_to_all_is_started_told_and_halted(fleet: LocalFleet) -> None:
    rollout = fleet.start(fleet.plan("1.0.0", Group(percent=100)))
    assert fleet.rollout(rollout).groups[0].started_at is None, "so many are chosen in parts"
    fleet.hand_out()
    with fleet.store.write() as tx:
        members = rollouts.members_of(tx, rollout)
        ids = [member.device for member in members]
        assert len(ids) == DEVICES + 1
        assert len(assignments.of(tx, ids)) == len(ids)
        told = desired.of(tx, ids)
        assert len(told) == len(ids)
        desired.mark_sent(tx, [one.desired for one in told.values()], now=START)
        assert desired.unsent_devices(tx, limit=10) == []
        desired.mark_unsent(tx, ids)
        desired.note_away(tx, ids)
        assert len(rollouts.current_memberships(tx, ids)) == len(ids)
    fleet.operations.halt(rollout, reason="wrong", actor="person:ann", now=fleet.now)
    assert fleet.rollout(rollout).state == "halted"
    fleet.hand_out()
    with fleet.store.read() as tx:
        assert {member.state for member in rollouts.members_of(tx, rollout)} == {MemberState.WITHDRAWN}


def test_whatever_is_asked_about_all_devices_is_answered(fleet: LocalFleet) -> None:
    ids = ["cam", *(f"copy-{number:07d}" for number in range(DEVICES))]
    with fleet.store.write() as tx:
        assert len(devices.live(tx, ids)) == len(ids)
        assert len(list(devices.matching(tx, Selector(devices=tuple(ids)), model=None, now=START))) == len(ids)
        assert devices.unknown(tx, Selector(devices=(*ids, "lost"))) == ["lost"]
        devices.seen(tx, ids, now=START)
        assert assignments.next_attempts(tx, dict.fromkeys(ids, "0" * 64), model=MODEL) == dict.fromkeys(ids, 1)
        assignments.unassign(tx, ids, MODEL)
        shadows.put(tx, ids, MODEL, DesiredShadow(version="3.0.0", digest=digest_of("3.0.0")))
        assert len(shadows.of(tx, ids)) == len(ids)
        assert shadows.drop(tx, ids, MODEL) == tuple(ids)
        assert reported.of(tx, ids).keys() <= set(ids)
        assert actions.ordered(tx, ids) == {}
        assert rollouts.plans(tx, ids) == {}
