"""The error that keeps a rollout from going on: `rollouts.trouble`."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Text

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column."""
    op.add_column("rollouts", Column("trouble", Text))
