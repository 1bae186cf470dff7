"""How long the manager's store is busy, and locked for others, at many devices.

Right: nothing that an operator or a timer does holds the store for long; reports of devices wait meanwhile. Here there
are few thousand devices, and it is the rows that each transaction writes which are few: of no part of a rollout do they
grow with the fleet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from edgemm.states import RolloutState
from edgemm_fleet.records.rollout_plan import Group, Selector
from edgemm_fleet.store import devices, rollouts, schema
from simulators import member_counting
from simulators.broker import LocalFleet

pytestmark = pytest.mark.fleet
DEVICES, MOST = 3000, 6000
"""A part is of 500 devices at most, with less than ten rows each; of those that are chosen, 1,000 with two."""


class Written:
    """Counts the rows that each transaction writes."""

    def __init__(self) -> None:
        self.most, self._now = 0, 0

    def begin(self, _connection: Connection) -> None:
        self._now = 0

    def executed(self, _c: Any, cursor: Any, statement: str, parameters: Any, _x: Any, many: bool) -> None:
        if statement.startswith(("INSERT", "UPDATE", "DELETE")):
            self._now += len(parameters) if many else max(1, cursor.rowcount)
            self.most = max(self.most, self._now)


@pytest.fixture
def written() -> Iterator[Written]:
    found = Written()
    event.listen(Engine, "begin", found.begin)
    event.listen(Engine, "after_cursor_execute", found.executed)
    yield found
    event.remove(Engine, "begin", found.begin)
    event.remove(Engine, "after_cursor_execute", found.executed)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    fleet = LocalFleet(tmp_path)
    fleet.add("cam", ring="3")
    with fleet.store.write() as tx:
        values = dict(tx.execute(schema.devices.select()).mappings().one())
        names = [f"copy-{number:07d}" for number in range(DEVICES)]
        copies = [values | {"id": n, "name": n, "key_id": f"key {n}", "bearer_hash": f"bearer {n}"} for n in names]
        tx.execute(schema.devices.insert(), copies)
    yield fleet
    fleet.store.close()


def test_no_transaction_of_a_rollout_grows_with_the_fleet(fleet: LocalFleet, written: Written) -> None:
    def least(step: Callable[[], object]) -> None:
        written.most = 0
        step()
        assert written.most <= MOST

    rollout = fleet.operations.create(fleet.plan("1.0.0", Group(count=1), Group(percent=100)), actor="t", now=1.0).id
    least(lambda: fleet.operations.start(rollout, actor="t", now=fleet.now))
    least(fleet.hand_out)
    with fleet.store.write() as tx:
        mine = schema.members.c.rollout == rollout
        done = {"state": "committed", "update_state": "committed"}
        tx.execute(schema.members.update().where(mine).values(**done))
        member_counting.count_anew(tx, rollout)
    least(lambda: fleet.runner.tick(fleet.store, now=fleet.now + 1))
    least(fleet.hand_out)
    with fleet.store.read() as tx:
        assert sum(number for _, _, _, number in rollouts.tallies(tx, rollout)) == DEVICES + 1
        assert next(devices.matching(tx, Selector(), model=None, now=fleet.now)).id == "cam"
    least(lambda: fleet.operations.halt(rollout, actor="t", reason="x", now=fleet.now + 5))
    least(fleet.hand_out)
    least(lambda: fleet.operations.roll_back(rollout, actor="t", now=fleet.now + 6))
    least(fleet.hand_out)
    assert fleet.rollout(rollout).state in {RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK}
    assert fleet.rollout(rollout).taken_back is None
