"""The waiting of rollouts. Groups that wait for a person are a field of plans with a default."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Add the column; no rollout of before waits for anything."""
    op.add_column("rollouts", sa.Column("waiting_json", sa.Text))
