"""The tables that edgemm began with."""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

revision = "0001"
down_revision = None

_tables = MetaData()

Table("meta", _tables, Column("key", String, primary_key=True), Column("value", String, nullable=False))

Table(
    "devices",
    _tables,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("labels_json", Text, nullable=False),
    Column("key_json", Text, nullable=False),
    Column("key_id", String, nullable=False),
    Column("token_id", String, nullable=False),
    Column("bearer_hash", String, nullable=False, unique=True),
    Column("broker_hash", String, nullable=False),
    Column("runtime", String, nullable=False),
    Column("platform", String, nullable=False),
    Column("enrolled_at", Float, nullable=False),
    Column("removed_at", Float),
    Column("online", Boolean, nullable=False, default=False),
    Column("boot", String),
    Column("boot_count", Integer, nullable=False, default=0),
    Column("connection", Integer, nullable=False, default=0),
    Column("last_seen_at", Float),
    Column("duplicate_at", Float),
    Column("previous_boot", String),
    Column("previous_connection", Integer, nullable=False, default=0),
    Index("devices_by_key", "key_id"),
)

Table(
    "enrolment_tokens",
    _tables,
    Column("id", String, primary_key=True),
    Column("secret_hash", String, nullable=False, unique=True),
    Column("labels_json", Text, nullable=False),
    Column("uses_allowed", Integer),
    Column("uses", Integer, nullable=False, default=0),
    Column("created_by", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("revoked_at", Float),
)

Table(
    "person_tokens",
    _tables,
    Column("id", String, primary_key=True),
    Column("person", String, nullable=False),
    Column("role", String, nullable=False),
    Column("token_hash", String, nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("revoked_at", Float),
)

Table(
    "models",
    _tables,
    Column("name", String, primary_key=True),
    Column("publisher_json", Text, nullable=False),
    Column("minimum_version", String),
    Column("created_at", Float, nullable=False),
)

Table(
    "versions",
    _tables,
    Column("model", ForeignKey("models.name"), primary_key=True),
    Column("version", String, primary_key=True),
    Column("digest", String, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("published_by", String, nullable=False),
    Column("published_at", Float, nullable=False),
    Index("versions_by_digest", "digest"),
)

Table(
    "blobs",
    _tables,
    Column("digest", String, primary_key=True),
    Column("size_bytes", Integer, nullable=False),
    Column("added_at", Float, nullable=False),
)

Table(
    "version_blobs",
    _tables,
    Column("model", String, primary_key=True),
    Column("version", String, primary_key=True),
    Column("digest", ForeignKey("blobs.digest"), primary_key=True),
)

Table(
    "assignments",
    _tables,
    Column("device", ForeignKey("devices.id"), primary_key=True),
    Column("model", String, primary_key=True),
    Column("desired_json", Text, nullable=False),
)

Table(
    "attempts",
    _tables,
    Column("device", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("digest", String, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("spent", Boolean, nullable=False, default=False),
)

Table(
    "actions",
    _tables,
    Column("id", String, primary_key=True),
    Column("device", ForeignKey("devices.id"), nullable=False),
    Column("kind", String, nullable=False),
    Column("model", String),
    Column("created_at", Float, nullable=False),
    Column("done_at", Float),
    Column("ok", Boolean),
    Column("detail", Text, nullable=False, default=""),
    Index("actions_open", "device", sqlite_where=text("done_at IS NULL")),
)

Table(
    "desired",
    _tables,
    Column("device", ForeignKey("devices.id"), primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("desired_json", Text, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("unsent", Boolean, nullable=False, default=True),
    Column("sent_at", Float),
    Index("desired_unsent", "device", sqlite_where=text("unsent")),
    Index("desired_by_expiry", "expires_at"),
)

Table(
    "reported",
    _tables,
    Column("device", ForeignKey("devices.id"), primary_key=True),
    Column("boot_count", Integer, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("highest_generation", Integer, nullable=False),
    Column("reported_json", Text, nullable=False),
    Column("received_at", Float, nullable=False),
)

Table(
    "events",
    _tables,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("device", String, nullable=False),
    Column("boot", String, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("model", String),
    Column("rollout", String),
    Column("event_json", Text, nullable=False),
    Column("received_at", Float, nullable=False),
    Index("events_once", "device", "boot", "sequence", unique=True),
    Index("events_by_device", "device", "id"),
)

Table(
    "telemetry",
    _tables,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("device", String, nullable=False),
    Column("boot", String, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("window", LargeBinary, nullable=False),
    Column("received_at", Float, nullable=False),
    Index("telemetry_once", "device", "boot", "sequence", unique=True),
    Index("telemetry_by_device", "device", "id"),
)

Table(
    "positions",
    _tables,
    Column("device", String, primary_key=True),
    Column("boot", String, primary_key=True),
    Column("stream", String, primary_key=True),
    Column("contiguous", Integer, nullable=False),
    Column("highest", Integer, nullable=False),
)

Table(
    "rollouts",
    _tables,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("model", String, nullable=False),
    Column("plan_json", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", Text),
    Column("created_by", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
    Column("deadline_at", Float),
    Column("groups_json", Text, nullable=False),
    Index("rollouts_by_state", "state"),
)

Table(
    "members",
    _tables,
    Column("rollout", ForeignKey("rollouts.id"), primary_key=True),
    Column("device", String, primary_key=True),
    Column("group", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("previous_json", Text, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
    Column("deadline_at", Float),
    Column("update_state", String),
    Column("reason", String),
    Index("members_by_device", "device"),
    Index("members_by_group", "rollout", "group", "state"),
    Index("members_due", "deadline_at", sqlite_where=text("deadline_at IS NOT NULL")),
)

Table(
    "audit",
    _tables,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("detail", Text, nullable=False),
)


def upgrade() -> None:
    """Make them."""
    _tables.create_all(op.get_bind())
