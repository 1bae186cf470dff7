"""The tables of windows: the newest of each boot, and parts of the history, which are made and dropped as time goes.

This folder knows nothing of the other tables of the store. A part is a table of its own, `windows_17` or `health_3`;
`history_parts` names them all, and they are of the same columns in every database.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table

from edgemm_fleet.store.dialects.portable import adapt
from edgemm_fleet.store.facts import fact_tables

metadata = fact_tables.metadata
"""Of all tables of the database but the parts."""

latest = Table(
    "latest",
    metadata,
    Column("device", String, primary_key=True),
    Column("boot", String, primary_key=True),
    Column("id", BigInteger, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("window", LargeBinary, nullable=False),
    Column("received_at", Float, nullable=False),
)
"""The newest window of each of the latest boots of a device; `id` numbers all that ever came, as in the history."""

history_parts = Table(
    "history_parts",
    metadata,
    Column("kind", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("begun_at", Float, nullable=False),
    Column("newest_at", Float, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("next_id", BigInteger, nullable=False),
)
"""The parts that there are; `next_id`, of the last part of windows, numbers the next window that comes."""


class HistoryKind(StrEnum):
    """What a part is of. Rows of a minute for each cohort are to be a third."""

    WINDOWS = "windows"
    HEALTH = "health"


@lru_cache(maxsize=1000)
def part_table(kind: HistoryKind, number: int) -> Table:
    """Return the table of one part."""
    own, name = MetaData(), f"{kind}_{number}"
    if kind is HistoryKind.HEALTH:
        table = Table(
            name,
            own,
            Column("device", String, primary_key=True),
            Column("hour", Integer, primary_key=True),
            Column("boot", String, nullable=False),
            Column("sequence", Integer, nullable=False),
            Column("uptime_s", Integer, nullable=False),
            Column("requests", Integer, nullable=False),
            Column("errors", Integer, nullable=False),
            Column("temperature_c", Float),
            Column("memory_available_bytes", Integer),
            Column("disk_free_bytes", Integer),
            Column("dropped", Integer, nullable=False),
            sqlite_with_rowid=False,
        )
    else:
        table = Table(
            name,
            own,
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("device", String, nullable=False),
            Column("boot", String, nullable=False),
            Column("sequence", Integer, nullable=False),
            Column("window", LargeBinary, nullable=False),
            Column("received_at", Float, nullable=False),
            Index(f"{name}_by_device", "device", "id"),
        )
    adapt(own, ordered=())
    return table
