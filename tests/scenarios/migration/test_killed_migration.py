"""Real processes that are killed in the middle of a migration, and two that begin one at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgemm_fleet.store import Store
from edgemm_fleet.store.revisions import NEWEST
from tests.golden.databases import shapes
from tests.unit.fleet.store.golden_databases import OLDER, Rows, contents, copies, golden, rows

pytestmark = pytest.mark.fleet

OPEN = """
import sys
from pathlib import Path
from edgemm_fleet.store.migration import bring_up_to_date

sys.stdin.readline()
print(bring_up_to_date(Path(sys.argv[1])))
"""


def _kept(found: Rows, before: Rows) -> bool:
    """Tell whether all rows of before are there; later columns may have come to them."""
    return all(
        [{name: row[name] for name in old} for row, old in zip(found[table], rows, strict=True)] == rows
        for table, rows in before.items()
        if table not in {"meta", "alembic_version"}
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "every"), [("0001", 8), ("0001-with-shadows", 12), ("0005", 8), (OLDER[-1], 1)])
def test_killed_anywhere_it_is_the_old_database_or_the_new_one_and_goes_on_from_there(
    tmp_path: Path, name: str, every: int
) -> None:
    """Of the newest migration at each statement; of all others at one of `every` in a row, and whenever they commit."""
    database = shapes.FOLDER / f"{name}.db"
    before = rows(database)
    killer = [sys.executable, "-m", "simulators.killed_migrations", str(database), str(tmp_path), "--every", str(every)]
    done = subprocess.run(killer, capture_output=True, text=True, check=True, timeout=280)
    points = done.stdout.split()
    assert len(points) > 10, "of which each killed a process"
    left = {frozenset(contents(tmp_path / number).items()): tmp_path / number / "fleet.db" for number in points}
    assert {_went_on(path, before) for path in left.values()} == {True, False}, "those with the same bytes are one"


def _went_on(path: Path, before: Rows) -> bool:
    """Have what a killed migration left be looked at, and opened; tell whether it was the new database already."""
    found = rows(path)
    new = "alembic_version" in found and found["alembic_version"] == [{"version_num": NEWEST}]
    if new:
        assert _kept(found, before)
    else:
        assert found == before, "not a row and not a column of the new one"
    for copy in copies(path):
        assert rows(copy) == before
    assert copies(path) or not new, "the way back is there before the new one is"
    Store.open(path).close()
    after = rows(path)
    assert after["alembic_version"] == [{"version_num": NEWEST}]
    assert _kept(after, before)
    assert not list(path.parent.glob(".edgemm-tmp-*")), "what the killed one left is tidied up"
    return new


@pytest.mark.slow
def test_of_two_that_begin_at_once_one_migrates(tmp_path: Path) -> None:
    path = golden(tmp_path, "0001")
    before = rows(path)
    command = [sys.executable, "-c", OPEN, str(path)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("now\n")
        process.stdin.flush()
    said = sorted(process.communicate(timeout=120)[0].strip() for process in processes)
    assert said[1:] == ["None"] * 3 or said[:-1] == ["None"] * 3, said
    assert [process.returncode for process in processes] == [0] * 4
    assert len(copies(path)) == 1
    assert _kept(rows(path), before)
