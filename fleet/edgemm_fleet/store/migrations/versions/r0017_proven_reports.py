"""Reports that prove that they are newer, by what their device had been told when the newest one was taken."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the columns; what a device was told last was told before its newest report was taken, as far as is known."""
    with op.batch_alter_table("reported") as batch:
        for name in ("told_generation", "since_generation"):
            batch.add_column(Column(name, BigInteger, nullable=False, server_default="0"))
    op.execute(
        "UPDATE reported SET told_generation = "
        "coalesce((SELECT generation FROM desired WHERE desired.device = reported.device), 0)"
    )
