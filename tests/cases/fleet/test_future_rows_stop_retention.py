"""The server's clock was a year ahead for a moment: some rows of telemetry bear that time.

Right: all others are still deleted by their age. Here 20,000 rows are 40 days old and 30 days are kept.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

import pytest

from edgemm_fleet.server.retention import Pruner, Retention
from edgemm_fleet.store import Store

pytestmark = pytest.mark.fleet
DAY_S = 86400.0
INSERT = "INSERT INTO telemetry(device, boot, sequence, window, received_at) VALUES(?, 'b', 1, x'', ?)"


def test_rows_of_the_future_hold_up_no_others(tmp_path: Path) -> None:
    now = time.time()
    old = [(f"o{number}", now - 40 * DAY_S) for number in range(20_000)]
    ahead = [(f"a{number}", now + 365 * DAY_S) for number in range(1000)]
    assert left(tmp_path, [*ahead, *old], now=now) == set()


@pytest.mark.parametrize("number", [999, 1000, 1001, 2500])
def test_those_that_came_before_an_old_one_are_as_old(tmp_path: Path, number: int) -> None:
    now = time.time()
    rows = [*((f"a{n}", now + DAY_S) for n in range(number)), ("o", now - 31 * DAY_S), ("n", now - 1)]
    assert left(tmp_path, rows, now=now) == {"n"}


def test_those_that_came_after_it_stay_as_do_young_ones_between(tmp_path: Path) -> None:
    now = time.time()
    rows = [("o1", now - 31 * DAY_S), ("n1", now - 29 * DAY_S), ("o2", now - 32 * DAY_S), ("a", now + 3650 * DAY_S)]
    assert left(tmp_path, [*rows, ("n2", now)], now=now) == {"n1", "a", "n2"}


def left(folder: Path, rows: list[tuple[str, float]], *, now: float) -> set[str]:
    """Return the devices whose rows are left after one pass."""
    store = Store.open(folder / "fleet.db")
    with contextlib.closing(sqlite3.connect(folder / "fleet.db")) as database:
        database.executemany(INSERT, rows)
        database.commit()
        Pruner(store, Retention(), clock=lambda: now).prune()
        found = {row[0] for row in database.execute("SELECT device FROM telemetry")}
    store.close()
    return found
