from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ColumnElement, Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from edgemm_fleet.store import Store, audit, devices, notes, schema
from edgemm_fleet.store.dialects import many_rows, portable
from edgemm_fleet.store.dialects.array_texts import written_array
from edgemm_fleet.store.history.history_tables import latest

MANY = 100_000
"""More than SQLite (32,766) and PostgreSQL (65,535) take as parameters of a statement."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "fleet.db")
    yield store
    store.close()


def test_a_list_of_any_length_is_one_parameter(store: Store) -> None:
    with store.write() as tx:
        notes.put(tx, "n-77777", "here")
        found = select(schema.meta.c.key).where(portable.listed(schema.meta.c.key, [f"n-{n}" for n in range(MANY)]))
        assert list(tx.execute(found).scalars()) == ["n-77777"]
        assert devices.live(tx, [f"cam-{n}" for n in range(MANY)]) == {}
        nobody = select(schema.meta.c.key).where(portable.listed(schema.meta.c.key, []))
        assert list(tx.execute(nobody).scalars()) == []


@pytest.mark.parametrize("value", ["", "it's", '"', "\\", "ä€😀", "{a,b}", "NULL", "[1]", "a\nb", "50%"])
def test_any_text_is_found_in_a_list(store: Store, value: str) -> None:
    with store.write() as tx:
        notes.put(tx, f"k{value}", value)
        found = select(schema.meta.c.value).where(portable.listed(schema.meta.c.key, [f"k{value}", "other"]))
        assert list(tx.execute(found).scalars()) == [value]


def test_texts_come_in_the_order_of_their_characters(store: Store) -> None:
    names = ["a", "B", "b", "A", "ä", "Z", "_", "-", "a-b", "aa", "z", "é", "0", "😀"]
    with store.write() as tx:
        for name in names:
            notes.put(tx, f"o {name}", "")
        keys = list(tx.execute(select(schema.meta.c.key).order_by(schema.meta.c.key)).scalars())
        assert [key[2:] for key in keys if key.startswith("o ")] == sorted(names)
        above = select(schema.meta.c.key).where(schema.meta.c.key > "o Z", schema.meta.c.key <= "o a")
        assert set(tx.execute(above).scalars()) == {"o _", "o a"}


def test_numbers_have_64_bits(store: Store) -> None:
    row = {"device": "cam", "boot": "b", "stream": "event", "contiguous": 2**53, "highest": 2**62, "above": None}
    with store.write() as tx:
        portable.put(tx, schema.positions, [row])
        portable.put(tx, schema.positions, [row | {"highest": 2**62 + 1}])
        found = tx.execute(select(schema.positions)).mappings().one()
        assert dict(found) == row | {"highest": 2**62 + 1, "above": None}


def test_a_nul_of_a_device_does_not_end_the_transaction(store: Store) -> None:
    with store.write() as tx:
        audit.add(tx, at=1.0, actor="device:cam", action="x", subject="a\0b", detail="\0")
        audit.add(tx, at=1.0, actor="device:cam", action="x", subject="after", detail="")
    with store.read() as tx:
        after, record = audit.page(tx).items
        shown = "\0" if tx.dialect.name == "sqlite" else "\N{SYMBOL FOR NULL}"
        assert (after.subject, record.subject, record.detail) == ("after", f"a{shown}b", shown)


def test_a_row_that_is_there_already_is_told_and_ends_nothing(store: Store) -> None:
    row = {"digest": "d", "size_bytes": 2**40, "added_at": 1.5}
    with store.write() as tx:
        assert portable.add_one(tx, schema.blobs, row)
        assert not portable.add_one(tx, schema.blobs, row | {"size_bytes": 1})
        portable.add_missing(tx, schema.blobs, [row, row | {"digest": "e"}])
        found = tx.execute(select(schema.blobs).order_by(schema.blobs.c.digest)).all()
        assert [tuple(one) for one in found] == [("d", 2**40, 1.5), ("e", 2**40, 1.5)]


def test_rows_replace_others_where_the_condition_says_so(store: Store) -> None:
    first = {"device": "cam", "model": "m", "digest": "d", "attempt": 5, "spent": False}
    table = schema.attempts
    with store.write() as tx:
        portable.put(tx, table, [])
        for attempt in (5, 4, 6):
            row = first | {"attempt": attempt, "spent": attempt == 6}
            portable.put(tx, table, [row], only=lambda new: table.c.attempt < new.attempt)
        assert tx.execute(select(table.c.attempt, table.c.spent)).one() == (6, True)


def test_all_tables_of_postgresql_have_wide_numbers_and_the_order_of_characters() -> None:
    made = [str(CreateTable(t).compile(dialect=postgresql.dialect())) for t in schema.metadata.sorted_tables]  # type: ignore[no-untyped-call]  # SQLAlchemy's
    lines = [line for one in made for line in one.splitlines()]
    assert not [line for line in lines if " INTEGER" in line or " SERIAL" in line]
    assert not [line for line in lines if ("VARCHAR" in line or "TEXT" in line) and 'COLLATE "C"' not in line]


def test_partial_indexes_are_partial_on_both_and_sqlites_tables_know_nothing_of_it() -> None:
    for table in schema.metadata.sorted_tables:
        assert "COLLATE" not in str(CreateTable(table).compile(dialect=sqlite.dialect()))
        for index in table.indexes:
            made = [str(CreateIndex(index).compile(dialect=one)) for one in (sqlite.dialect(), postgresql.dialect())]  # type: ignore[no-untyped-call]  # SQLAlchemy's
            both = [words.partition(" WHERE ")[2] for words in made]
            assert both[0].replace(" IS 1 ", " IS true ") == both[1], "each in its own words for a truth"


@pytest.mark.sqlite
@pytest.mark.parametrize("table", [schema.devices, schema.desired, schema.assignments, schema.reported, schema.shadows])
def test_a_list_is_looked_up_by_the_key(store: Store, table: Table) -> None:
    key = next(iter(table.primary_key))
    query = select(table).where(portable.listed(key, ["a", "b"]))
    words = str(query.compile(dialect=sqlite.dialect()))
    with store.read() as tx:
        plan = tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {words}", ('["a", "b"]',)).all()
    assert any(f"SEARCH {table.name} USING" in row.detail for row in plan), plan


def test_many_rows_are_put_in_place_of_those_of_their_keys(store: Store) -> None:
    """In each kind of column, with what texts and bytes may have."""
    text = "it's \\ \" {a,b} NULL ä😀"
    rows = [(text, f"boot-{n}", n, 2**40 + n, bytes([0, 255, 92, n % 256]), 1.5 * n) for n in range(1000)]
    with store.write() as tx:
        many_rows.put_many(tx, latest, rows)
        assert sorted(tx.execute(select(latest)).all()) == sorted(rows)
        newer = [(device, boot, id_ + 1, sequence + n % 2, b"", at) for n, (device, boot, id_, sequence, _, at) in
                 enumerate(rows)]  # fmt: skip
        many_rows.put_many(tx, latest, newer, only=_later)
        found = {row.boot: tuple(row) for row in tx.execute(select(latest))}
        assert [found[row[1]] for row in rows] == [new if n % 2 else old for n, (old, new) in
                                                  enumerate(zip(rows, newer, strict=True))]  # fmt: skip
        many_rows.put_many(tx, schema.positions, [])
        many_rows.insert_many(tx, schema.positions, [("cam", "b", "event", 2**53, 2**62, None)])
        assert tx.execute(select(schema.positions)).one() == ("cam", "b", "event", 2**53, 2**62, None)


@pytest.mark.parametrize(
    ("values", "written"),
    [
        (["a"], b'{"a"}'),
        (["a b", "", "NULL", "{,}", "\u00e4"], '{"a b","","NULL","{,}","\u00e4"}'.encode()),
        (["a", 'b"'], None),
        (['","'], None),
        (["\\"], None),
        (["\0"], None),
        ([b"", b"\0\xff"], b'{"\\\\x","\\\\x00ff"}'),
        ([1, -(2**62)], b"{1,-4611686018427387904}"),
        ([1.5, float("inf"), 1e300], b"{1.5,inf,1e+300}"),
        ([1, 1.5], None),
        ([True], None),
        (["a", None], None),
        ([[1]], None),
        ([], None),
    ],
)
def test_a_list_of_one_kind_is_written_as_a_whole(values: list[Any], written: bytes | None) -> None:
    assert written_array(values) == written


def _later(new: Any) -> ColumnElement[bool]:
    found: ColumnElement[bool] = new.sequence > latest.c.sequence
    return found
