"""Members whose deadline has come are found by it, and not by a look at all members of a rollout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from edgemm_fleet.store import Store, Transaction, rollouts

pytestmark = pytest.mark.sqlite  # its words for a plan


@pytest.mark.parametrize(
    "look",
    [
        lambda tx: rollouts.due_members(tx, "r-1", now=1e9, limit=100),
        lambda tx: rollouts.members_due_after(tx, "r-1", after=2e9, limit=100),
    ],
    ids=["due", "due after"],
)
def test_the_index_of_deadlines_is_used(tmp_path: Path, look: Callable[[Transaction], Any]) -> None:
    store, asked = Store.open(tmp_path / "fleet.db"), list[tuple[str, Any]]()
    with store.read() as tx:
        event.listen(tx, "before_cursor_execute", lambda *args: asked.append((args[2], args[3])))
        look(tx)
        (words, values) = asked[0]
        plan = [row[3] for row in tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {words}", values)]
    store.close()
    assert "members_due" in plan[0]
    assert len(plan) == 1
