"""Golden databases, copied out to be opened, and what is in a database."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from edgemm_fleet.store.revisions import REVISIONS
from tests.golden.databases import shapes

NAMES = sorted(path.stem for path in shapes.FOLDER.glob("*.db"))
OLDER = [name for name in NAMES if name != REVISIONS[-1]]
Rows = dict[str, list[dict[str, Any]]]


def golden(folder: Path, name: str) -> Path:
    """Put a golden database into a folder as `fleet.db`."""
    path = folder / "fleet.db"
    shutil.copyfile(shapes.FOLDER / f"{name}.db", path)
    return path


def rows(path: Path) -> Rows:
    """Return all rows of all tables, in the order of their ids, or of their keys."""
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        tables = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
        order = {name: "1, 2" if "WITHOUT ROWID" in sql else "rowid" for name, sql in tables}
        return {n: [dict(row) for row in database.execute(f'SELECT * FROM "{n}" ORDER BY {order[n]}')] for n in order}


def contents(folder: Path) -> dict[str, bytes]:
    """Return each file of a folder, but SQLite's index in shared memory, which holds nothing."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}


def copies(path: Path) -> list[Path]:
    """Return the copies beside a database."""
    return sorted(path.parent.glob(f"{path.stem}-*{path.suffix}"))
