"""The shadows that a fleet asks for: the table `shadows`."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, ForeignKey, String, Text

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the table, unless it is there: an edgemm without a history added it to whatever database it opened."""
    op.create_table(
        "shadows",
        Column("device", String, ForeignKey("devices.id"), primary_key=True),
        Column("model", String, primary_key=True),
        Column("shadow_json", Text, nullable=False),
        if_not_exists=True,
    )
    op.create_index("shadows_by_model", "shadows", ["model", "device"], if_not_exists=True)
