"""Many rows written by one statement that is made once: their values are tuples, and the driver gets them as they are.

SQLAlchemy's own way makes a dictionary of each row and looks at each value, which takes as long as SQLite does; and
PostgreSQL is sent a statement for each row. Here it gets a list of each column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Float,
    Integer,
    LargeBinary,
    Table,
    Text,
    bindparam,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

Values = tuple[Any, ...]
"""Of a row, in the order of the table's columns."""
Condition = Callable[[Any], ColumnElement[bool]]
_KEPT = 100
"""Statements that are kept; parts of a history have one each."""


def insert_many(tx: Connection, table: Table, rows: Sequence[Values]) -> None:
    """Insert rows, none of which is there."""
    _write(tx, table, rows, replaces=False, only=None)


def put_many(tx: Connection, table: Table, rows: Sequence[Values], *, only: Condition | None = None) -> None:
    """Insert rows, or put their values in place of those of the rows that have their primary key.

    No two of them have one key. `only` makes the condition of a replacement from the columns of the row to put; it is
    the same function each time.
    """
    _write(tx, table, rows, replaces=True, only=only)


def _write(tx: Connection, table: Table, rows: Sequence[Values], *, replaces: bool, only: Condition | None) -> None:
    if not rows:
        return
    if tx.dialect.name == "postgresql":
        names = [column.name for column in table.columns]
        columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
        tx.execute(_of_columns(table, replaces, only), columns)
    else:
        tx.exec_driver_sql(_of_rows(table, replaces, only), list(rows))


@lru_cache(maxsize=_KEPT)
def _of_rows(table: Table, replaces: bool, only: Condition | None) -> str:  # noqa: FBT001 - a key of the cache
    query = sqlite.insert(table).values({column.name: bindparam(column.name) for column in table.columns})
    return str(_replacing(query, table, only).compile(dialect=sqlite.dialect()) if replaces else
               query.compile(dialect=sqlite.dialect()))  # fmt: skip


@lru_cache(maxsize=_KEPT)
def _of_columns(table: Table, replaces: bool, only: Condition | None) -> Any:  # noqa: FBT001 - as above
    names = [column.name for column in table.columns]
    lists = [bindparam(column.name, type_=ARRAY(_kind(column.type))) for column in table.columns]
    given = func.unnest(*lists).table_valued(*names, name="given").render_derived()
    query = postgresql.insert(table).from_select(names, select(*(given.c[name] for name in names)))
    return _replacing(query, table, only) if replaces else query


def _replacing(query: Any, table: Table, only: Condition | None) -> Any:
    keys = [column.name for column in table.primary_key]
    changed = {column.name: query.excluded[column.name] for column in table.columns if column.name not in keys}
    where = None if only is None else only(query.excluded)
    return query.on_conflict_do_update(index_elements=keys, set_=changed, where=where)


def _kind(column: Any) -> Any:
    for kind, found in ((Integer, BigInteger()), (Float, Float(53)), (LargeBinary, LargeBinary())):
        if isinstance(column, kind):
            return found
    return Text()
