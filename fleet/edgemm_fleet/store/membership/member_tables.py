"""The tables of the members of rollouts, and of their counts, as they are today."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, String, Table, Text, text

from edgemm_fleet.store.facts.fact_tables import metadata

members = Table(
    "members",
    metadata,
    Column("rollout", ForeignKey("rollouts.id"), primary_key=True),
    Column("device", String, primary_key=True),
    Column("group", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("previous_json", Text, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
    Column("deadline_at", Float),
    Column("update_state", String),
    Column("reason", String),
    Column("detail", Text),
    Index("members_by_device", "device"),
    Index("members_by_state", "rollout", "state", "group", "device"),
    Index("members_due", "deadline_at", sqlite_where=text("deadline_at IS NOT NULL")),
)

member_counts = Table(
    "member_counts",
    metadata,
    Column("rollout", ForeignKey("rollouts.id"), primary_key=True),
    Column("group", Integer, primary_key=True, autoincrement=False),
    Column("state", String, primary_key=True),
    Column("met", Boolean, primary_key=True),
    Column("number", Integer, nullable=False),
)
"""How many members of a group are in a state, and `met` what they were told; kept by what each change makes of them."""
