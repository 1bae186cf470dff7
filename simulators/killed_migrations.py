"""Migrations that are killed at one point after another: `python -m simulators.killed_migrations DATABASE FOLDER`.

For each point of a migration a process of its own migrates a copy of DATABASE, in `FOLDER/NUMBER`, and ends itself
with SIGKILL there. A point is before each statement that writes, before and after the commit, and at each opening of
a file and change of a name. It writes how many points there are to stdout.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "fleet"):
    import alembic.command  # loaded once, not by each of the processes
    import alembic.config  # noqa: F401 - likewise
    from sqlalchemy import Engine, Pool, event

    from edgemm_fleet.store.migration import bring_up_to_date

_CALLS = ("sqlite3.connect", "os.rename", "os.remove", "os.open")


def main(database: Path, folder: Path) -> None:
    """Kill one process after another, until one comes to the end."""
    point = 0
    while _is_killed(database, folder / str(point), point):
        point += 1
    print(point, flush=True)  # noqa: T201 - what the parent waits for


def _is_killed(database: Path, folder: Path, point: int) -> bool:
    folder.mkdir()
    path = folder / "fleet.db"
    shutil.copyfile(database, path)
    child = os.fork()
    if child == 0:
        try:
            _kill_at(point)
            bring_up_to_date(path)
        except BaseException as err:  # noqa: BLE001 - the end of a process
            sys.stderr.write(f"{point}: {err}\n")
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def _kill_at(point: int) -> None:
    passed = iter(range(point + 1))

    def passes(*_: object) -> None:
        if next(passed) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def executes(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith(("PRAGMA", "SELECT")):
            passes()

    event.listen(Engine, "before_cursor_execute", executes)
    event.listen(Engine, "commit", passes)
    event.listen(Pool, "checkin", passes)
    sys.addaudithook(lambda name, _: passes() if name in _CALLS else None)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
