"""Migrations that are killed at one point after another: `python -m simulators.killed_migrations DATABASE FOLDER`.

For each point of a migration a process of its own migrates a copy of DATABASE, in `FOLDER/NUMBER`, and ends itself
with SIGKILL there. A point is before each statement that writes, before and after the commit, and at each opening of
a file and change of a name. It writes the numbers of the points to stdout, one a line.

`--every N` takes one of N of the statements in a row, and all else: between two commits, openings or changes of a name,
statements leave the same bytes on the disk.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "fleet"):
    import alembic.command  # loaded once, not by each of the processes
    import alembic.config  # noqa: F401 - likewise
    from sqlalchemy import Engine, Pool, event

    from edgemm_fleet.store.migration import bring_up_to_date

_CALLS = ("sqlite3.connect", "os.rename", "os.remove", "os.open")
_STATEMENT = "statement"


def main(database: Path, folder: Path, *, every: int = 1) -> None:
    """Kill one process at each point that is chosen."""
    for point in _chosen(_points(database, folder / "points"), every=every):
        _kill(database, folder / str(point), point)
        print(point, flush=True)  # noqa: T201 - what the parent waits for


def _chosen(points: list[str], *, every: int) -> list[int]:
    """Return the numbers of all points but of statements in a row: of these the first, and one of so many more."""
    chosen, row = [], 0
    for number, kind in enumerate(points):
        row = row + 1 if kind == _STATEMENT else 0
        if row == 0 or (row - 1) % every == 0:
            chosen.append(number)
    return chosen


def _points(database: Path, folder: Path) -> list[str]:
    """Migrate undisturbed; return the kinds of the points in order."""
    record = folder.with_suffix(".txt")
    with record.open("w", buffering=1) as file:  # a line at once: the process ends without more ado
        status = _migrate(database, folder, lambda kind: file.write(f"{kind}\n"))
    assert status == 0, status
    return record.read_text().splitlines()


def _kill(database: Path, folder: Path, point: int) -> None:
    passed = iter(range(point + 1))

    def passes(_: str) -> None:
        if next(passed) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    status = _migrate(database, folder, passes)
    assert status == -signal.SIGKILL, f"{point}: it ended with {status}"


def _migrate(database: Path, folder: Path, passes: Callable[[str], object]) -> int:
    """Migrate a copy in a process of its own that tells of each point; return its status."""
    folder.mkdir()
    path = folder / "fleet.db"
    shutil.copyfile(database, path)
    child = os.fork()
    if child == 0:
        try:
            _watch(passes)
            bring_up_to_date(path)
        except BaseException as err:  # noqa: BLE001 - the end of a process
            sys.stderr.write(f"{folder.name}: {err}\n")
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _watch(passes: Callable[[str], object]) -> None:
    def executes(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith(("PRAGMA", "SELECT")):
            passes(_STATEMENT)

    event.listen(Engine, "before_cursor_execute", executes)
    event.listen(Engine, "commit", lambda *_: passes("commit"))
    event.listen(Pool, "checkin", lambda *_: passes("checkin"))
    sys.addaudithook(lambda name, _: passes(name) if name in _CALLS else None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=1, metavar="N")
    chosen = parser.parse_args()
    main(chosen.database, chosen.folder, every=chosen.every)
