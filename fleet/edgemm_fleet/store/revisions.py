"""Revisions of the database, and which of them a database is of.

Pure: the tables, columns and records that were found are arguments. From revision `0006` on a database records its
revision. Those before it all called themselves `1`, and are told apart by their columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgemm.errors import InputError, NewerFormatError

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0010", "0012", "0014", "0016", "0017",
             "0018", "0019", "0020", "0021")  # fmt: skip
"""All that ever landed, oldest first."""
NEWEST = REVISIONS[-1]
META_VERSION = "2"
"""What a database with a history calls itself towards an edgemm that knows none."""
MOVED = "moved to "
"""What a database calls itself, with the address of another, once its fleet is there."""
BEING_COPIED = "being copied"
"""What a database calls itself into which a fleet is being moved."""
VERSION_TABLE = "alembic_version"

_FIRST_TABLES = frozenset(
    {
        "actions",
        "assignments",
        "attempts",
        "audit",
        "blobs",
        "desired",
        "devices",
        "enrolment_tokens",
        "events",
        "members",
        "meta",
        "models",
        "person_tokens",
        "positions",
        "reported",
        "rollouts",
        "telemetry",
        "version_blobs",
        "versions",
    }
)


@dataclass(frozen=True)
class Inventory:
    """What a database was found to hold."""

    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Table → column → type, in capitals."""
    recorded: tuple[str, ...] | None = None
    """The rows of Alembic's table, None where there is no such table."""
    meta_version: str | None = None
    """What `meta` calls its `schema_version`."""


def revision_of(found: Inventory, path: str) -> str | None:
    """Return the revision of a database; None for one without tables, which is still to be made.

    Raises:
        NewerFormatError: a later edgemm wrote it.
        InputError: edgemm never wrote such a database.
    """
    revision = _recorded(found.recorded, path) if found.recorded is not None else None
    if found.meta_version is not None and found.meta_version.startswith(MOVED):
        there = found.meta_version.removeprefix(MOVED)
        serve = f": edgemm fleet serve FOLDER --db {there}" if "://" in there else ""
        raise InputError(
            f"{path}: its fleet moved to {there} and goes on there{serve}; another move, to an empty database, brings "
            "it elsewhere: edgemm fleet db copy"
        )
    if found.meta_version == BEING_COPIED:
        raise InputError(f"{path}: the move of a fleet to it was cut short: give the same `edgemm fleet db copy` again")
    if found.meta_version not in {None, "1", META_VERSION}:
        raise NewerFormatError(
            path, what="fleet database schema", found=str(found.meta_version), supported=META_VERSION
        )
    if revision is not None or not found.columns:
        return revision
    if missing := _FIRST_TABLES - set(found.columns):
        raise _unknown(path, f"no table {min(missing)}")
    return _unrecorded(found.columns, path)


def _recorded(rows: tuple[str, ...], path: str) -> str:
    if len(rows) != 1:
        raise _unknown(path, f"{len(rows)} rows in {VERSION_TABLE} instead of one")
    if rows[0] not in REVISIONS:
        raise NewerFormatError(path, what="fleet database schema", found=rows[0], supported=NEWEST)
    return rows[0]


def _unrecorded(columns: Mapping[str, Mapping[str, str]], path: str) -> str:
    """Tell the shapes apart that called themselves `1`.

    The table `shadows` alone says nothing: the edgemm that brought it made it in whatever database it opened, and
    changed no table that was there.
    """
    steps = (
        ("members.detail", "detail" in columns["members"]),
        ("devices.boot_count of 64 bits", columns["devices"].get("boot_count") == "BIGINT"),
        ("rollouts.trouble", "trouble" in columns["rollouts"]),
        ("shadows", "shadows" in columns),
    )
    done = 0
    while done < len(steps) and steps[done][1]:
        done += 1
    for name, there in steps[done:-1]:
        if there:
            raise _unknown(path, f"{name} without {steps[done][0]}")
    return REVISIONS[done]


def _unknown(path: str, found: str) -> InputError:
    return InputError(
        f"{path}: expected a database that edgemm wrote, found {found}; nothing was changed: "
        "put back a copy of it, or begin with an empty one"
    )
