"""The tables of the fleet manager's database, as they are today.

Whoever changes them also writes a migration (`migrations/versions`), which tests compare with this file. The tables of
facts, of members and of windows are described in folders below (`facts/fact_tables.py`, `membership/member_tables.py`,
`history/history_tables.py`).

Times are seconds since the Unix epoch (UTC), always passed in by the caller. Columns that end in `_json` hold one of
our messages as JSON. Secrets are here only as hashes.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    text,
)

from edgemm_fleet.store.dialects.portable import adapt
from edgemm_fleet.store.history import history_tables
from edgemm_fleet.store.membership import member_tables

metadata = history_tables.metadata
members = member_tables.members

meta = Table("meta", metadata, Column("key", String, primary_key=True), Column("value", String, nullable=False))
"""What an edgemm that knows no revisions looks for: it refuses a `schema_version` above 1 as newer than itself."""

devices = Table(
    "devices",
    metadata,
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
    Column("boot_count", BigInteger, nullable=False, default=0),
    Column("connection", Integer, nullable=False, default=0),
    Column("last_seen_at", Float),
    Column("duplicate_at", Float),
    Column("previous_boot", String),
    Column("previous_connection", Integer, nullable=False, default=0),
    Column("doubted_at", Float),
    Index("devices_by_key", "key_id"),
    # Also of what their conditions say: an index alone then answers, without a look at the wide rows.
    Index(
        "devices_live",
        "id",
        "removed_at",
        sqlite_where=text("removed_at IS NULL"),
        postgresql_where=text("removed_at IS NULL"),
    ),
    Index(
        "devices_online",
        "id",
        "online",
        "removed_at",
        sqlite_where=text("online IS 1 AND removed_at IS NULL"),
        postgresql_where=text("online IS true AND removed_at IS NULL"),
    ),
    Index(
        "devices_seen",
        "last_seen_at",
        "id",
        "removed_at",
        sqlite_where=text("removed_at IS NULL"),
        postgresql_where=text("removed_at IS NULL"),
    ),
    Index("devices_doubted", "doubted_at", sqlite_where=text("doubted_at IS NOT NULL")),
    Index(
        "devices_duplicate",
        "id",
        sqlite_where=text("duplicate_at IS NOT NULL AND removed_at IS NULL"),
        postgresql_where=text("duplicate_at IS NOT NULL AND removed_at IS NULL"),
    ),
)

enrolment_tokens = Table(
    "enrolment_tokens",
    metadata,
    Column("id", String, primary_key=True),
    Column("secret_hash", String, nullable=False, unique=True),
    Column("labels_json", Text, nullable=False),
    Column("uses_allowed", Integer),
    Column("uses", Integer, nullable=False, default=0),
    Column("created_by", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("revoked_at", Float),
    Column("root_version", Integer, nullable=False, server_default="1"),
)

person_tokens = Table(
    "person_tokens",
    metadata,
    Column("id", String, primary_key=True),
    Column("person", String, nullable=False),
    Column("role", String, nullable=False),
    Column("token_hash", String, nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("revoked_at", Float),
)

models = Table(
    "models",
    metadata,
    Column("name", String, primary_key=True),
    Column("publisher_json", Text, nullable=False),
    Column("minimum_version", String),
    Column("created_at", Float, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("model", ForeignKey("models.name"), primary_key=True),
    Column("version", String, primary_key=True),
    Column("digest", String, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("published_by", String, nullable=False),
    Column("published_at", Float, nullable=False),
    Column("withdrawn_at", Float),
    Index("versions_by_digest", "digest"),
)

blobs = Table(
    "blobs",
    metadata,
    Column("digest", String, primary_key=True),
    Column("size_bytes", Integer, nullable=False),
    Column("added_at", Float, nullable=False),
)

version_blobs = Table(
    "version_blobs",
    metadata,
    Column("model", String, primary_key=True),
    Column("version", String, primary_key=True),
    Column("digest", ForeignKey("blobs.digest"), primary_key=True),
)

assignments = Table(
    "assignments",
    metadata,
    Column("device", ForeignKey("devices.id"), primary_key=True),
    Column("model", String, primary_key=True),
    Column("desired_json", Text, nullable=False),
)

shadows = Table(
    "shadows",
    metadata,
    Column("device", ForeignKey("devices.id"), primary_key=True),
    Column("model", String, primary_key=True),
    Column("shadow_json", Text, nullable=False),
    Index("shadows_by_model", "model", "device"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("device", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("digest", String, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("spent", Boolean, nullable=False, default=False),
)

actions = Table(
    "actions",
    metadata,
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

desired = Table(
    "desired",
    metadata,
    Column("device", ForeignKey("devices.id"), primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("desired_json", Text, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("unsent", Boolean, nullable=False, default=True),
    Column("sent_at", Float),
    Column("content_hash", String),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("again_at", Float),
    Column("refusal_json", Text),
    Index("desired_unsent", "device", sqlite_where=text("unsent")),
    Index(
        "desired_refused",
        "device",
        sqlite_where=text("refusal_json IS NOT NULL"),
        postgresql_where=text("refusal_json IS NOT NULL"),
    ),
    Index("desired_by_expiry", "expires_at"),
    Index("desired_again", "again_at", sqlite_where=text("again_at IS NOT NULL")),
)

reported = Table(
    "reported",
    metadata,
    Column("device", ForeignKey("devices.id"), primary_key=True),
    Column("boot_count", BigInteger, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("highest_generation", BigInteger, nullable=False),
    Column("reported_json", Text, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("told_generation", BigInteger, nullable=False, server_default="0"),
    Column("since_generation", BigInteger, nullable=False, server_default="0"),
)

events = Table(
    "events",
    metadata,
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

telemetry = Table(  # windows of before there was `latest`, until they are too old
    "telemetry",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("device", String, nullable=False),
    Column("boot", String, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("window", LargeBinary, nullable=False),
    Column("received_at", Float, nullable=False),
    Index("telemetry_once", "device", "boot", "sequence", unique=True),
    Index("telemetry_by_device", "device", "id"),
)

positions = Table(
    "positions",
    metadata,
    Column("device", String, primary_key=True),
    Column("boot", String, primary_key=True),
    Column("stream", String, primary_key=True),
    Column("contiguous", Integer, nullable=False),
    Column("highest", Integer, nullable=False),
    Column("above", LargeBinary),
)

rollouts = Table(
    "rollouts",
    metadata,
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
    Column("trouble", Text),
    Column("waiting_json", Text),
    Column("taken_back", String),
    Index("rollouts_by_state", "state"),
    Index("rollouts_taking_back", "number", sqlite_where=text("taken_back IS NOT NULL")),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("detail", Text, nullable=False),
)

# After the last table: what PostgreSQL needs beside.
adapt(metadata, ordered=(actions, positions))
