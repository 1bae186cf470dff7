from __future__ import annotations

import pytest

from edgemm.errors import InputError, NewerFormatError
from edgemm_fleet.store import schema
from edgemm_fleet.store.revisions import NEWEST, REVISIONS, Inventory, revision_of

FIRST = {name: dict.fromkeys(table.columns.keys(), "TEXT") for name, table in schema.metadata.tables.items()}
del FIRST["shadows"], FIRST["members"]["detail"], FIRST["rollouts"]["trouble"]
FIRST["devices"]["boot_count"] = FIRST["reported"]["boot_count"] = "INTEGER"
DETAIL = {"members": {**FIRST["members"], "detail": "TEXT"}}
LARGE = {"devices": {**FIRST["devices"], "boot_count": "BIGINT"}}
TROUBLE = {"rollouts": {**FIRST["rollouts"], "trouble": "TEXT"}}
SHADOWS = {"shadows": {"device": "VARCHAR"}}


@pytest.mark.parametrize(
    ("columns", "revision"),
    [
        ({}, None),
        (FIRST, "0001"),
        (FIRST | SHADOWS, "0001"),
        (FIRST | DETAIL, "0002"),
        (FIRST | DETAIL | SHADOWS, "0002"),
        (FIRST | DETAIL | LARGE, "0003"),
        (FIRST | DETAIL | LARGE | TROUBLE, "0004"),
        (FIRST | DETAIL | LARGE | TROUBLE | SHADOWS, "0005"),
        (FIRST | DETAIL | LARGE | TROUBLE | SHADOWS | {"notes": {"text": "TEXT"}}, "0005"),
    ],
)
def test_databases_that_all_called_themselves_1_are_told_apart(
    columns: dict[str, dict[str, str]], revision: str | None
) -> None:
    assert revision_of(Inventory(columns, meta_version="1"), "fleet.db") == revision


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (Inventory(FIRST | TROUBLE), "found rollouts.trouble without members.detail"),
        (Inventory(FIRST | DETAIL | TROUBLE), "found rollouts.trouble without devices.boot_count of 64 bits"),
        (Inventory({"people": {"id": "TEXT"}}), "found no table actions"),
        (Inventory(recorded=()), "found 0 rows in alembic_version instead of one"),
        (Inventory(recorded=("0005", "0006")), "found 2 rows in alembic_version instead of one"),
    ],
)
def test_what_edgemm_never_wrote_is_refused_with_what_is_odd_about_it(found: Inventory, told: str) -> None:
    with pytest.raises(InputError, match=rf"fleet\.db: expected a database that edgemm wrote, {told}; nothing was"):
        revision_of(found, "fleet.db")


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (Inventory(recorded=("0099",)), f"schema 0099 is newer than {NEWEST}"),
        (Inventory(recorded=("ae1027a6acf",)), f"schema ae1027a6acf is newer than {NEWEST}"),
        (Inventory(recorded=(NEWEST,), meta_version="3"), "schema 3 is newer than 2"),
        (Inventory(FIRST, meta_version="3"), "schema 3 is newer than 2"),
    ],
)
def test_what_a_later_edgemm_wrote_is_refused_by_name(found: Inventory, told: str) -> None:
    with pytest.raises(NewerFormatError, match=rf"fleet\.db: fleet database {told}, which this edgemm reads: upgrade"):
        revision_of(found, "fleet.db")


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_revision_that_is_recorded_is_believed(revision: str) -> None:
    assert revision_of(Inventory(recorded=(revision,), meta_version="2"), "fleet.db") == revision
