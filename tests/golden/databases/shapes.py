"""What tells one shape of a database from another: its tables, columns, keys and indexes, however they were written.

`python -m tests.golden.databases.shapes` adds the fingerprint of each golden database that has none yet to
`fingerprints.toml`, and changes none that is there. Columns of JSON that hold the manager's own documents have
fingerprints beside them; what holds a message of the wire has the message's version.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import tomllib
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from edgemm import canonical
from edgemm_fleet.records.progress import GroupProgress
from edgemm_fleet.records.rollout_plan import RolloutPlan
from edgemm_fleet.records.waiting import RolloutWait
from edgemm_fleet.store.revisions import NEWEST

FOLDER = Path(__file__).parent
FINGERPRINTS = FOLDER / "fingerprints.toml"
_NAMES = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name <> 'alembic_version' "
    "AND name NOT GLOB 'windows_[0-9]*' AND name NOT GLOB 'health_[0-9]*'"
)
"""Of all tables but the parts of the history, which come and go."""


DOCUMENTS = {"plan_json": RolloutPlan, "groups_json": tuple[GroupProgress, ...], "waiting_json": RolloutWait}


def describe(database: sqlite3.Connection) -> str:
    """Return a database's shape as text, one line a column, key and index."""
    lines = []
    for (table,) in database.execute(f"{_NAMES} ORDER BY name").fetchall():
        (sql,) = database.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        kinds = [kind for kind in ("AUTOINCREMENT", "WITHOUT ROWID") if kind in sql]
        lines.append(" ".join(["table", table, *kinds]))
        for _, name, kind, filled, default, key in database.execute(f'PRAGMA table_info("{table}")').fetchall():
            lines.append(f"  {name} {kind} not_null={filled} default={default} key={key}")
        keys = database.execute(f'PRAGMA foreign_key_list("{table}")').fetchall()
        lines += sorted(f"  {start} refers to {other}.{end} {how}" for _, _, other, start, end, *how in keys)
        lines += sorted(_indexes(database, table))
    return "\n".join(lines) + "\n"


def _indexes(database: sqlite3.Connection, table: str) -> list[str]:
    found = []
    for _, name, unique, origin, partial in database.execute(f'PRAGMA index_list("{table}")').fetchall():
        columns = [row[2] for row in database.execute(f'PRAGMA index_info("{name}")').fetchall()]
        where = ""
        if partial:
            (sql,) = database.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()
            where = re.sub(r"\s+", " ", sql[sql.upper().index("WHERE") :])
        named = name if origin == "c" else ""
        found.append(f"  index {named} on {columns} unique={unique} {where}".rstrip())
    return found


def fingerprint(database: sqlite3.Connection) -> str:
    """Return the SHA-256 of a database's shape."""
    return hashlib.sha256(describe(database).encode()).hexdigest()


def fingerprint_of(kind: Any) -> str:
    """Return the SHA-256 of all that a document may hold, whatever its classes are called and people are told of it."""
    schema = msgspec.json.schema(kind)
    numbers: dict[str, int] = {}
    shapes = [_bare({key: value for key, value in schema.items() if key != "$defs"}, numbers)]
    while len(shapes) <= len(numbers):  # each definition in the order in which it is first referred to
        name = list(numbers)[len(shapes) - 1]
        shapes.append(_bare(schema["$defs"][name], numbers))
    return canonical.sha256(canonical.encode(shapes))


def _bare(schema: Any, numbers: dict[str, int]) -> Any:
    if isinstance(schema, dict):
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/$defs/")
            return {"$ref": numbers.setdefault(name, len(numbers))}
        return {key: _bare(value, numbers) for key, value in schema.items() if key not in {"description", "title"}}
    return [_bare(item, numbers) for item in schema] if isinstance(schema, list) else schema


def recorded() -> dict[str, dict[str, str]]:
    """Return revision → `tables` and each of `DOCUMENTS` → fingerprint, as they were committed.

    Revisions before the first that was recorded have no fingerprints of documents.
    """
    return tomllib.loads(FINGERPRINTS.read_text())


def main() -> None:
    """Add what is missing."""
    known = recorded() if FINGERPRINTS.exists() else {}
    with FINGERPRINTS.open("a") as file:
        for path in sorted(FOLDER.glob("[0-9][0-9][0-9][0-9].db")):
            if path.stem in known:
                continue
            with closing(sqlite3.connect(path)) as database:
                file.write(f'\n["{path.stem}"]\ntables = "{fingerprint(database)}"\n')
            if path.stem == NEWEST:
                for column, kind in DOCUMENTS.items():
                    file.write(f'{column} = "{fingerprint_of(kind)}"\n')


if __name__ == "__main__":
    main()
