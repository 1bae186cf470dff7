"""Connections to PostgreSQL by psycopg 3, their limits, and what the server says in one line.

Two kinds of connection: those that read see one state of the database for a whole transaction (`REPEATABLE READ READ
ONLY`); those that write take turns by an advisory lock of the transaction, whichever process they are of, as SQLite's
`BEGIN IMMEDIATE` has it. A manager's writing connection holds an advisory lock for as long as it lives: there is one
such connection at most, so that whoever writes as the manager is the only manager.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, QueuePool, create_engine, event
from sqlalchemy.dialects.postgresql.base import PGTypeCompiler
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from edgemm.errors import EnvironmentFailure
from edgemm_fleet.store.dialects.array_texts import written_array
from edgemm_fleet.store.dialects.database_address import PostgresAddress
from edgemm_fleet.store.dialects.portable import COLLATION, NUL_SHOWN
from edgemm_fleet.worker import ToldFailure

_WRITERS, _MANAGER = 0x65646765_00000001, 0x65646765_00000002
"""Keys of the advisory locks, each of one database: its writing transactions, and its manager."""
_CONNECT_TIMEOUT_S = 5
_POOL, _MOST_CONNECTIONS, _POOL_TIMEOUT_S = 4, 24, 10
_SETTINGS = {
    "statement_timeout": "60s",
    "lock_timeout": "10s",
    # A manager that hangs, or whose network is cut, must not keep its locks.
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25000",
    # An acknowledgement may be sent once a transaction has ended.
    "synchronous_commit": "on",
    "client_min_messages": "error",
    "timezone": "UTC",
}
_KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}
_OURS = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
"""What PostgreSQL says of a statement and its values, unless its code says otherwise."""
_TOO_LARGE = "54"
"""Begins the codes of what is too large or too intricate, such as a row of an index: it will be so the next time."""
_OUTSIDE = {
    "25006": "it is read-only",
    "42501": "its user has no right to do that",
    "53100": "the disk of its server is full",
    "53200": "its server has no memory left",
    "53300": "its server has too many connections",
    "55P03": "another process has been writing for 10 s",
    "57014": "it took longer than 60 s to answer",
}
"""SQLSTATE → what it means; of these the server, its settings or its load are the cause, not a statement of ours."""


def readers(address: PostgresAddress) -> Engine:
    """Return an engine whose transactions see one state of the database and write nothing."""

    def prepare(connection: Any, record: object) -> None:  # noqa: ARG001 - SQLAlchemy's signature
        connection.isolation_level = _psycopg().IsolationLevel.REPEATABLE_READ
        connection.read_only = True

    engine = _engine(address, pool_size=_POOL, max_overflow=_MOST_CONNECTIONS - _POOL)
    event.listen(engine, "connect", prepare)
    return engine


def writers(address: PostgresAddress, *, alone: bool = False) -> Engine:
    """Return an engine of one connection, whose transactions take turns with those of every other process.

    `alone`: that connection keeps a second manager from making one.
    """

    def prepare(connection: Any, record: object) -> None:  # noqa: ARG001 - SQLAlchemy's signature
        held = connection.execute("SELECT pg_try_advisory_lock(%s)", [_MANAGER]).fetchone() == (True,)
        connection.commit()
        if not held:
            connection.close()
            raise ToldFailure(f"fleet database {address}: another fleet manager uses it; stop that one first")

    engine = _engine(address, pool_size=1, max_overflow=0)
    if alone:
        event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", functools.partial(_take_turn, address))
    return engine


def migrating(address: PostgresAddress) -> Engine:
    """Return an engine as `writers` does, by which a migration's columns become what `portable.adapt` makes of ours."""
    engine = writers(address)
    engine.dialect.type_compiler_instance = _Columns(engine.dialect)
    return engine


@contextmanager
def looking(address: PostgresAddress) -> Iterator[Connection]:
    """Open a connection to look into the database, which writes nothing."""
    engine = create_engine("postgresql+psycopg://", creator=_creator(address), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection.execution_options(postgresql_readonly=True)
    finally:
        engine.dispose()


def _take_turn(address: PostgresAddress, connection: Connection) -> None:
    """Wait until no other process writes; called at the beginning of a transaction.

    Raises:
        ToldFailure: the database is read-only, as a standby is.
    """
    query = "SELECT current_setting('transaction_read_only'), pg_advisory_xact_lock(%s)"
    if connection.exec_driver_sql(query, (_WRITERS,)).one()[0] == "on":
        raise ToldFailure(_failed(address, _OUTSIDE["25006"]))


def without_time_limit(connection: Connection) -> None:
    """Let the statements of this transaction take as long as they do: those of a migration, or of a copy."""
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0").close()


@contextmanager
def described(address: PostgresAddress) -> Iterator[None]:
    """Turn what PostgreSQL says into one line about the database.

    Raises:
        ToldFailure: the server is gone, full, read-only, too slow or too busy: the same may work later.
    """
    try:
        yield
    except PoolTimeoutError as err:
        busy = f"all {_MOST_CONNECTIONS} connections were in use for {_POOL_TIMEOUT_S} s"
        raise ToldFailure(_failed(address, busy)) from err
    except DBAPIError as err:
        state = getattr(err.orig, "sqlstate", None) or ""
        ours = isinstance(err, _OURS) or state.startswith(_TOO_LARGE)
        if ours and state not in _OUTSIDE:
            raise
        cause = _OUTSIDE.get(state) or _first_line(err.orig or err)
        raise ToldFailure(_failed(address, cause)) from err


class _Columns(PGTypeCompiler):
    """Makes whole numbers 64 bits wide, and sorts texts by their characters, whatever a migration says."""

    def visit_INTEGER(self, type_: Any, **kw: Any) -> str:  # noqa: N802 - SQLAlchemy's name, as those below
        """Name the type of a whole number."""
        return str(self.visit_BIGINT(type_, **kw))  # type: ignore[no-untyped-call]  # SQLAlchemy's has no types

    def visit_VARCHAR(self, type_: Any, **kw: Any) -> str:  # noqa: N802
        """Name the type of a text."""
        return _sorted(super().visit_VARCHAR(type_, **kw))

    def visit_TEXT(self, type_: Any, **kw: Any) -> str:  # noqa: N802
        """Name the type of a long text."""
        return _sorted(super().visit_TEXT(type_, **kw))


def _sorted(kind: str) -> str:
    return kind if "COLLATE" in kind else f'{kind} COLLATE "{COLLATION}"'


def _engine(address: PostgresAddress, *, pool_size: int, max_overflow: int) -> Engine:
    return create_engine(
        "postgresql+psycopg://",
        creator=_creator(address),
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=_POOL_TIMEOUT_S,
        pool_pre_ping=True,  # a connection that a restart of the server ended is made anew
        # What SQLAlchemy asks for at the first connection is known: psycopg speaks UTF-8, and strings conform.
        hide_parameters=True,
    )


def _creator(address: PostgresAddress) -> Any:
    psycopg = _psycopg()
    try:
        given = psycopg.conninfo.conninfo_to_dict(address.url)
    except psycopg.Error as err:
        raise EnvironmentFailure(f"fleet database {address}: {_first_line(err)}") from err
    settings = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
    defaults = {"connect_timeout": _CONNECT_TIMEOUT_S, "application_name": "edgemm fleet"} | _KEEPALIVE
    options = f"{settings} {given.get('options', '')}".strip()
    # Whatever PGCLIENTENCODING or the address say: texts of devices have all letters.
    known = defaults | given | {"options": options, "client_encoding": "UTF8"}
    return functools.partial(_connect, known, address)


def _connect(known: dict[str, Any], address: PostgresAddress) -> Any:
    connection = _psycopg().connect(**known)
    if (encoding := connection.info.parameter_status("server_encoding")) not in {None, "UTF8"}:
        connection.close()
        raise EnvironmentFailure(
            f"fleet database {address}: its encoding is {encoding}, expected UTF8, for devices and people use all "
            "letters; make another one: createdb --template template0 --encoding UTF8"
        )
    connection.adapters.register_dumper(str, _text_dumper())
    connection.adapters.register_dumper(list, _list_dumper())
    return connection


@functools.cache
def _text_dumper() -> Any:
    from psycopg.types.string import StrDumperUnknown

    class WithoutNul(StrDumperUnknown):  # type: ignore[misc]  # psycopg is not installed for checks
        """Writes U+0000, which a text of PostgreSQL cannot have and what a device says may, as the symbol for it."""

        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", NUL_SHOWN) if "\0" in obj else obj)

    return WithoutNul


@functools.cache
def _list_dumper() -> Any:
    from psycopg.types.array import ListDumper

    class Together(ListDumper):  # type: ignore[misc]  # as above
        """Writes a list of one kind as a whole, where psycopg looks at each value: keys and columns are such lists."""

        def dump(self, obj: list[Any]) -> Any:
            return written_array(obj) or super().dump(obj)

    return Together


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError as err:
        raise EnvironmentFailure(
            f"PostgreSQL needs psycopg 3, which is not installed here ({err}): pip install 'edgemm[fleet,postgresql]'"
        ) from err
    return psycopg


def _failed(address: PostgresAddress, cause: str) -> str:
    return f"fleet database {address}: {cause}; nothing of this step was kept"


def _first_line(error: object) -> str:
    text = " ".join(line.strip() for line in str(error).splitlines()[:1]) or type(error).__name__
    return text.removeprefix("connection failed: ").removeprefix("FATAL: ").strip()[:300]
