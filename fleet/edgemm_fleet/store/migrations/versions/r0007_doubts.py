"""Since when unsigned words about a device's presence wait for a signed one: `devices.doubted_at`."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Float, text

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column, and the index of the few devices that have something in it."""
    op.add_column("devices", Column("doubted_at", Float))
    op.create_index("devices_doubted", "devices", ["doubted_at"], sqlite_where=text("doubted_at IS NOT NULL"))
