"""Tables that are dropped while others read: SQLite's readers keep what they see, PostgreSQL's hold up the drop.

Whoever has read a table in PostgreSQL keeps it until the transaction ends, such as a copy of the database; whoever has
not finds it gone, also in a transaction that still sees the row that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

_WAIT_MS = 50
"""For a table that others read; whoever wants to read it meanwhile waits behind the drop."""
_IN_USE, _GONE = "55P03", "42P01"


def unless_in_use(tx: Connection, act: Callable[[], object]) -> bool:
    """Do something that needs a table for itself; tell whether it was done, and nothing of it where not."""
    if tx.dialect.name == "sqlite":
        act()
        return True
    try:
        with tx.begin_nested():
            tx.exec_driver_sql(f"SET LOCAL lock_timeout = {_WAIT_MS}").close()
            act()
            tx.exec_driver_sql("SET LOCAL lock_timeout TO DEFAULT").close()
    except DBAPIError as err:
        if _state(err) != _IN_USE:
            raise
        return False
    return True


@contextmanager
def until_one_is_gone(tx: Connection) -> Iterator[None]:
    """End the block at a table that was dropped meanwhile, and go on after it; what it read before stays read."""
    if tx.dialect.name == "sqlite":
        yield
        return
    try:
        with tx.begin_nested():
            yield
    except DBAPIError as err:
        if _state(err) != _GONE:
            raise


def _state(err: DBAPIError) -> str | None:
    return getattr(err.orig, "sqlstate", None)
