"""A limit of the time that a filter may take, in either database: anybody who may read can ask for a costly one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from edgemm.errors import BadRequestError

_LONGEST_S = 10.0
_STEPS = 20_000
"""After so many steps of its machine, a millisecond or so, SQLite looks at the time."""
_CANCELED = "57014"


@contextmanager
def soon(tx: Connection, *, seconds: float | None = None) -> Iterator[None]:
    """Give up what a filter asks for in this block, and that takes so long that others would wait for it.

    SQLite counts all statements of the block together, PostgreSQL each. After an error the transaction is of no use.

    Raises:
        BadRequestError: it took longer.
    """
    limit_s = _LONGEST_S if seconds is None else seconds
    within = _within_sqlite if tx.dialect.name == "sqlite" else _within_postgresql
    try:
        with within(tx, limit_s):
            yield
    except DBAPIError as err:
        if "interrupted" in str(err.orig) or getattr(err.orig, "sqlstate", None) == _CANCELED:
            raise BadRequestError(
                f"filter: expected an answer within {limit_s:g} s, found none; ask for fewer terms, or label the "
                "devices that are meant"
            ) from err
        raise


@contextmanager
def _within_sqlite(tx: Connection, seconds: float) -> Iterator[None]:
    driver: Any = tx.connection.driver_connection
    end = time.monotonic() + seconds
    driver.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)


@contextmanager
def _within_postgresql(tx: Connection, seconds: float) -> Iterator[None]:
    tx.exec_driver_sql(f"SET LOCAL statement_timeout = {max(1, round(seconds * 1000))}").close()
    yield
    tx.exec_driver_sql("SET LOCAL statement_timeout TO DEFAULT").close()
