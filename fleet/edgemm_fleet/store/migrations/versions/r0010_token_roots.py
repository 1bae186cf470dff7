"""The root that an enrolment token pins: the first one, until keys were replaced."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"


def upgrade() -> None:
    """Add the column; tokens of before pin the first root."""
    op.add_column("enrolment_tokens", sa.Column("root_version", sa.Integer, nullable=False, server_default="1"))
