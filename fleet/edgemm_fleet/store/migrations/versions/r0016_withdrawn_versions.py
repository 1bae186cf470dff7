"""Versions that were withdrawn: their rows stay, so that their numbers are never used again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0014"


def upgrade() -> None:
    """Add the column; nothing was withdrawn before."""
    op.add_column("versions", sa.Column("withdrawn_at", sa.Float))
