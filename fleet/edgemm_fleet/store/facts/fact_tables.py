"""The tables of facts, and the columns of devices that filters look at; the other tables are in `store/schema.py`.

This folder knows nothing of the store around it, which writes facts wherever it changes what they are of.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, MetaData, String, Table, column, table, text

metadata = MetaData()
"""Of all tables of the database."""

devices = table(
    "devices",
    column("id", String),
    column("online", Boolean),
    column("last_seen_at", Float),
    column("removed_at", Float),
)

facts = Table(
    "facts",
    metadata,
    Column("fact", Integer, primary_key=True),
    Column("subject", String, nullable=False),
    Column("name", String, nullable=False),
    Column("value", String, nullable=False),
    Column("rank", String),
    Index("facts_once", "subject", "name", "value", unique=True),
    Index("facts_by_rank", "subject", "name", "rank", sqlite_where=text("rank IS NOT NULL")),
)
"""Each fact that some device has, once; `rank` orders values that are versions (`filters/ranks.py`)."""

device_facts = Table(
    "device_facts",
    metadata,
    Column("fact", Integer, primary_key=True),
    Column("device", String, primary_key=True),
    Index("device_facts_by_device", "device"),
    sqlite_with_rowid=False,
)
"""The facts of devices that are not removed."""
