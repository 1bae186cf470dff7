"""The move of a whole fleet from one database to another: every row of every table, verified, or nothing.

    moved = move_fleet(folder.database, PostgresAddress.parse("postgresql://…"), told=print)

Source and target are written by nobody else meanwhile: a manager on either refuses the move. The target is filled in
one transaction, chunk by chunk, and each of its tables is read back and compared before that ends. Then, in this order:
the target says that it is whole but not in use, the source that it moved and where to, the target that it is in use.
Killed in between, the same move begins anew, or ends what is left. Never are both in use, with one generation for two
contents; a database that moved is refused by managers, also those of before (`schema_version`).

Generations go on from the kept time and from the nonce of the next manager's start, as after any start.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Integer, Table, delete, func, insert, literal_column, select, update
from sqlalchemy.exc import IntegrityError

from edgemm.errors import EnvironmentFailure, InputError
from edgemm_fleet.store import migration, schema
from edgemm_fleet.store.dialects import postgresql
from edgemm_fleet.store.dialects.database_address import DatabaseAddress
from edgemm_fleet.store.dialects.either_dialect import described, engines, looking
from edgemm_fleet.store.dialects.portable import NUL_SHOWN, ROWID
from edgemm_fleet.store.dialects.sqlite import WRITING
from edgemm_fleet.store.history import parts
from edgemm_fleet.store.revisions import BEING_COPIED, META_VERSION, MOVED, NEWEST, revision_of

_CHUNK = 1000
_VERSION = "schema_version"
_ORDERED = frozenset({schema.actions.name, schema.positions.name})
Told = Callable[[str, int, int], None]
"""Is told of a table how many of how many rows are over there."""


@dataclass(frozen=True)
class Moved:
    """What was moved: the rows of each table, and the SHA-256 of them all."""

    rows: dict[str, int]
    digest: str


def has_no_tables(address: DatabaseAddress) -> bool:
    """Tell whether nothing was made in a database yet."""
    if isinstance(address, Path) and not address.exists():
        return True
    with described(address), looking(address) as connection:
        return not migration.take_inventory(connection).columns


def move_fleet(source: DatabaseAddress, target: DatabaseAddress, *, told: Told) -> Moved:
    """Move everything in one database to another one, which is empty or was left by a move that was cut short.

    Raises:
        InputError: the target has something in it, or the source is none of today's edgemm.
        EnvironmentFailure: a manager uses one of them, something cannot be moved, or what came out is not the same.
    """
    if source == target:
        raise InputError(f"{source}: expected two databases, found the same one twice")
    if has_no_tables(source):
        raise InputError(f"{source}: expected a fleet in it, found no table; nothing was changed")
    with _writing(source) as origin, _made(target) as destination:
        with described(source), origin.begin():
            already = _moved_to(origin, source, target)
            with described(target), destination.begin():
                if not isinstance(target, Path):
                    postgresql.without_time_limit(destination)
                if already:
                    _expect(destination, target, BEING_COPIED)
                    moved = Moved({}, "")
                else:
                    _empty(destination, target)
                    moved = _fill(origin, destination, source=source, told=told)
            if not already:
                _mark(origin, f"{MOVED}{target}")
        with described(target), destination.begin():
            _mark(destination, META_VERSION)
    return moved


@contextmanager
def _writing(address: DatabaseAddress) -> Iterator[Connection]:
    readers, writers = engines(address, alone=True)
    try:
        with described(address), writers.connect() as connection:
            yield connection.execution_options(**WRITING)
    finally:
        readers.dispose()
        writers.dispose()


@contextmanager
def _made(address: DatabaseAddress) -> Iterator[Connection]:
    with _writing(address) as connection:
        with described(address), connection.begin():
            found = migration.take_inventory(connection)
            if not found.columns:
                migration.create(connection)
                _mark(connection, BEING_COPIED)
            elif (found.meta_version or "").startswith(MOVED):
                raise _not_empty(address, "a fleet that moved away from it")
            elif found.meta_version != BEING_COPIED and revision_of(found, str(address)) != NEWEST:
                raise _not_empty(address, "tables of an earlier edgemm")
        yield connection


def _moved_to(origin: Connection, source: DatabaseAddress, target: DatabaseAddress) -> bool:
    """Tell whether a move was cut short after the source was given up."""
    found = migration.take_inventory(origin)
    if found.meta_version == f"{MOVED}{target}":
        return True
    if revision_of(found, str(source)) != NEWEST:
        raise InputError(
            f"{source}: no fleet, or one of an earlier edgemm; start the manager with this edgemm once, which migrates "
            "it: edgemm fleet serve FOLDER"
        )
    return False


def _empty(destination: Connection, target: DatabaseAddress) -> None:
    if _version(destination) != BEING_COPIED:
        for table in schema.metadata.sorted_tables:
            if (number := _count(destination, table)) > (table is schema.meta):
                raise _not_empty(target, f"{number} rows in table {table.name}")
        _mark(destination, BEING_COPIED)
        return
    for table in parts.tables(destination):
        table.drop(destination)
    for table in reversed(schema.metadata.sorted_tables):
        kept = schema.meta.c.key != _VERSION
        destination.execute(delete(table).where(kept) if table is schema.meta else delete(table))


def _fill(origin: Connection, destination: Connection, *, source: DatabaseAddress, told: Told) -> Moved:
    whole, rows = hashlib.sha256(), dict[str, int]()
    of_history = parts.tables(origin)
    for table in of_history:
        table.create(destination)
    for table in [*schema.metadata.sorted_tables, *of_history]:
        total, done, read = _count(origin, table), 0, hashlib.sha256()
        for chunk in _chunks(origin, table):
            values = [_as_stored(table, row, source, destination) for row in chunk]
            try:
                destination.execute(insert(table), values)
            except IntegrityError as err:
                cause = str(err.orig).splitlines()[0]
                raise EnvironmentFailure(
                    f"{source}: table {table.name} has rows that refer to others that are not there: {cause}; nothing "
                    "was changed: remove those rows, and move the fleet again"
                ) from err
            _add(read, values)
            done += len(values)
            told(table.name, done, total)
        _count_on(destination, table)
        back, digest = _read_back(destination, table)
        if (back, digest) != (done, read.hexdigest()):
            raise EnvironmentFailure(
                f"{source}: after the move table {table.name} should have {done} rows of sha256 "
                f"{read.hexdigest()[:12]}, found {back} of {digest[:12]}; nothing was changed: move the fleet again, "
                "and report this"
            )
        rows[table.name] = done
        whole.update(f"{table.name} {digest}\n".encode())
    return Moved(rows, whole.hexdigest())


def _chunks(connection: Connection, table: Table) -> Iterator[Sequence[dict[str, Any]]]:
    """Yield the rows of a table in an order that is the same in every database."""
    query = select(table).order_by(*([literal_column(ROWID)] if table.name in _ORDERED else table.primary_key.columns))
    if table is schema.meta:
        query = query.where(table.c.key != _VERSION)
    with connection.execute(query.execution_options(yield_per=_CHUNK)) as found:
        for part in found.mappings().partitions():
            yield [dict(row) for row in part]


def _as_stored(table: Table, row: dict[str, Any], source: DatabaseAddress, destination: Connection) -> dict[str, Any]:
    """Return a row as the target will have it.

    SQLite takes anything into any column, and none for what is no number; PostgreSQL takes what the column is for.
    """
    if destination.dialect.name == "sqlite":
        return {name: None if value != value else value for name, value in row.items()}  # noqa: PLR0124 - NaN alone
    for name, value in row.items():
        column = table.c[name]
        if isinstance(value, str):
            row[name] = value.replace("\0", NUL_SHOWN)
        fits = value is None or isinstance(value, column.type.python_type)
        if not fits or (isinstance(value, int) and isinstance(column.type, Integer) and not -(2**63) <= value < 2**63):
            key = ", ".join(str(row[one.name]) for one in table.primary_key)
            raise EnvironmentFailure(
                f"{source}: table {table.name}, row {key[:100]}: column {name} has {value!r:.60}, which is not of its "
                "type; nothing was changed: put that row right, or remove it, and move the fleet again"
            )
    return row


def _read_back(connection: Connection, table: Table) -> tuple[int, str]:
    number, digest = 0, hashlib.sha256()
    for chunk in _chunks(connection, table):
        number += len(chunk)
        _add(digest, chunk)
    return number, digest.hexdigest()


def _add(digest: Any, rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
        digest.update(repr(list(row.items())).encode(errors="surrogatepass"))


def _count_on(destination: Connection, table: Table) -> None:
    """Let PostgreSQL number the next rows behind these; SQLite does so by itself."""
    if destination.dialect.name != "postgresql" or (column := table.autoincrement_column) is None:
        return
    name = func.pg_get_serial_sequence(f'"{table.name}"', column.name)
    destination.execute(select(func.setval(name, func.max(column) + 1, False)).having(func.max(column).is_not(None)))  # noqa: FBT003 - SQL's


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _version(connection: Connection) -> str | None:
    return connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == _VERSION)).scalar()


def _mark(connection: Connection, value: str) -> None:
    connection.execute(update(schema.meta).where(schema.meta.c.key == _VERSION).values(value=value))


def _expect(connection: Connection, address: DatabaseAddress, value: str) -> None:
    if (found := _version(connection)) not in {value, META_VERSION}:
        raise InputError(f"{address}: expected the fleet that was moved there, found schema_version {found!r}")


def _not_empty(address: DatabaseAddress, found: str) -> InputError:
    step = "put that file elsewhere" if isinstance(address, Path) else "make another one, by createdb"
    return InputError(f"{address}: expected an empty database, found {found}; nothing was changed: {step}")
