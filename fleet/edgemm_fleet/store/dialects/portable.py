"""The common words of both databases: one set of tables, rows put in place of others, and lists of any length.

The tables are written down once, in `schema.py`, as SQLite has them. `adapt` gives them what PostgreSQL needs beside:
64-bit numbers, texts in the order of their characters (SQLite's own), partial indexes, and a `rowid` where the order of
insertion matters, which SQLite's tables have by themselves. None of it changes a table of SQLite.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    DDL,
    BigInteger,
    ColumnElement,
    Connection,
    Dialect,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    Text,
    bindparam,
    event,
    types,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from edgemm_fleet.store.dialects.sqlite import ORDER_FUNCTION

ROWID = "rowid"
"""The column of PostgreSQL's tables that the schema does not have."""
NUL_SHOWN = "\N{SYMBOL FOR NULL}"
"""What PostgreSQL has in place of U+0000, which no text of it can have."""
COLLATION = "C"
"""That of PostgreSQL which sorts texts by their characters."""
Row = Mapping[str, Any]


def adapt(metadata: MetaData, *, ordered: Collection[Table]) -> None:
    """Make the tables of SQLite those of PostgreSQL as well; `ordered` are those whose order of insertion matters."""
    for table in metadata.tables.values():
        for column in table.columns:
            if isinstance(column.type, Integer) and not isinstance(column.type, BigInteger):
                column.type = column.type.with_variant(BigInteger(), "postgresql")
            elif isinstance(column.type, String):
                text = type(column.type)(length=column.type.length, collation=COLLATION)
                column.type = column.type.with_variant(text, "postgresql")
        for index in table.indexes:
            if index.dialect_options["postgresql"]["where"] is None:
                index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]
    for table in ordered:
        words = f'ALTER TABLE "{table.name}" ADD COLUMN {ROWID} BIGINT GENERATED ALWAYS AS IDENTITY'
        ddl = DDL(words)  # type: ignore[no-untyped-call]  # SQLAlchemy's has no types
        event.listen(table, "after_create", ddl.execute_if(dialect="postgresql"))


def put(
    tx: Connection,
    table: Table,
    rows: Sequence[Row],
    *,
    keys: Sequence[str] = (),
    only: Callable[[Any], ColumnElement[bool]] | None = None,
) -> None:
    """Insert rows, or put their values in place of those of the rows that have their primary key, or other `keys`.

    All rows have the same columns. `only` makes the condition of a replacement from the columns of the row to put.
    """
    if not rows:
        return
    keys = keys or [column.name for column in table.primary_key]
    query = _insert(tx, table)
    changed = {name: query.excluded[name] for name in rows[0] if name not in keys}
    where = None if only is None else only(query.excluded)
    tx.execute(query.on_conflict_do_update(index_elements=keys, set_=changed, where=where), list(rows))


def put_selected(
    tx: Connection, table: Table, columns: Sequence[str], query: Select[Any], *, instead: Mapping[str, Any]
) -> int:
    """Insert what a query finds as these columns; where a primary key is there, put `instead` into its row.

    The query has a condition, as SQLite needs it to tell where it ends. Returns how many rows there were.
    """
    keys = [column.name for column in table.primary_key]
    put_all = _insert(tx, table).from_select(columns, query, include_defaults=False)
    put_all = put_all.on_conflict_do_update(index_elements=keys, set_=instead)
    return tx.execute(put_all, execution_options={"preserve_rowcount": True}).rowcount


def estimate(tx: Connection, table: Table) -> None:
    """Have PostgreSQL know anew how many rows a table has, and how they differ; it samples them, in any transaction.

    It does so by itself within a minute. Until then it keeps plans that were right while the table was small, and reads
    all of it. SQLite plans by its indexes alone.
    """
    if tx.dialect.name == "postgresql":
        tx.exec_driver_sql(f'ANALYZE "{table.name}"').close()


def add_up(tx: Connection, table: Table, rows: Sequence[Row], column: str) -> None:
    """Insert rows; where one is there by its primary key, add the number in a column to its own."""
    if rows:
        query = _insert(tx, table)
        total = {column: table.c[column] + query.excluded[column]}
        keys = [one.name for one in table.primary_key]
        tx.execute(query.on_conflict_do_update(index_elements=keys, set_=total), list(rows))


def add_missing(tx: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert those rows that break no key, primary or unique."""
    if rows:
        tx.execute(_insert(tx, table).on_conflict_do_nothing(), list(rows))


def add_one(tx: Connection, table: Table, row: Row) -> bool:
    """Insert a row unless it breaks a key; tell whether it is in. An error would end PostgreSQL's transaction."""
    query = _insert(tx, table).on_conflict_do_nothing()
    return tx.execute(query, row, execution_options={"preserve_rowcount": True}).rowcount > 0


def listed(column: ColumnElement[str], values: Collection[str]) -> ColumnElement[bool]:
    """Return the condition that a text is one of these, however many: they are one parameter of the statement.

    Each value of `IN` would be one, of which SQLite takes 32,766 and PostgreSQL 65,535.
    """
    return _Listed(column, bindparam(None, list(values), type_=_Texts(), unique=True))


def stable_order(name: str, column: ColumnElement[str]) -> ColumnElement[bytes]:
    """Return by what devices are ordered: the same for one name (of a rollout) always, and different for another."""
    return _StableOrder(bindparam(None, name, type_=String(), unique=True), column)


class _Texts(types.TypeDecorator[Sequence[str]]):
    """A list of texts: an array of PostgreSQL, a JSON array for SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> types.TypeEngine[Any]:
        """Return the type of the parameter."""
        return dialect.type_descriptor(ARRAY(Text()) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> Any:
        """Return what the driver is handed."""
        return value if dialect.name == "postgresql" else json.dumps(value)


class _Listed(FunctionElement[bool]):
    type = types.Boolean()
    inherit_cache = True
    name = "listed"

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002 - SQLAlchemy's signature
        """Stay a condition: what SQLAlchemy takes for a number is compared with 1, and no index is used then."""
        return self


@compiles(_Listed, "sqlite")
def _in_json(element: _Listed, compiler: Any, **kw: Any) -> str:
    column, values = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - SQL that SQLAlchemy made


@compiles(_Listed, "postgresql")
def _in_array(element: _Listed, compiler: Any, **kw: Any) -> str:
    column, values = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{column} = ANY ({values})"


class _StableOrder(FunctionElement[bytes]):
    type = types.LargeBinary()
    inherit_cache = True
    name = "stable_order"


@compiles(_StableOrder, "sqlite")
def _by_function(element: _StableOrder, compiler: Any, **kw: Any) -> str:
    name, column = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{ORDER_FUNCTION}({name}, {column})"


@compiles(_StableOrder, "postgresql")
def _by_digest(element: _StableOrder, compiler: Any, **kw: Any) -> str:
    name, column = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"sha256(convert_to(CAST({name} AS TEXT) || ':' || {column}, 'UTF8'))"


def _insert(tx: Connection, table: Table) -> Any:
    return (postgresql if tx.dialect.name == "postgresql" else sqlite).insert(table)
