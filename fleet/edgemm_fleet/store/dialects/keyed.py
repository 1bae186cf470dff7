"""Rows asked for by keys of several columns, however many: all keys are one parameter of one statement."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Connection, FromClause, Table, Text, and_, bindparam, func, select

_KEYS = "keys"


def find_by_keys(
    tx: Connection, table: Table, names: Sequence[str], keys: Sequence[Sequence[str]], *, wanted: Sequence[str]
) -> Sequence[Sequence[Any]]:
    """Return, of the rows that have one of the keys, the number of the key from 0 on and the columns `wanted`.

    A key is the values of the columns `names`, which are texts. The database looks each up in the index that begins
    with these columns. (For a list of tuples behind `IN` SQLite would read the whole table.)
    """
    if not keys:
        return []
    postgresql = tx.dialect.name == "postgresql"
    given, number, columns = _in_arrays(names) if postgresql else _in_json(names)
    same = and_(*(table.c[name] == column for name, column in zip(names, columns, strict=True)))
    query = select(number, *(table.c[name] for name in wanted)).select_from(given.join(table, same))
    if not postgresql:
        return tx.execute(query, {_KEYS: json.dumps(keys)}).all()
    lists = zip(*keys, strict=True)
    return tx.execute(query, {f"{_KEYS}{n}": list(values) for n, values in enumerate(lists)}).all()


def _in_json(names: Sequence[str]) -> tuple[FromClause, ColumnElement[int], list[ColumnElement[str]]]:
    given = func.json_each(bindparam(_KEYS, type_=Text)).table_valued("key", "value", name="given")
    return given, given.c.key, [func.json_extract(given.c.value, f"$[{n}]") for n in range(len(names))]


def _in_arrays(names: Sequence[str]) -> tuple[FromClause, ColumnElement[int], list[ColumnElement[str]]]:
    lists = [bindparam(f"{_KEYS}{n}", type_=ARRAY(Text)) for n in range(len(names))]
    given = func.unnest(*lists).table_valued(*names, with_ordinality="number", name="given").render_derived()
    return given, given.c.number - 1, [given.c[name] for name in names]
