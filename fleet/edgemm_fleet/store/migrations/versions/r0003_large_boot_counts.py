"""Numbers of starts that are no less than a time in seconds, beyond 32 bits from 2038 on."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Integer

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Widen the columns; SQLite holds 64 bits in either, and is told for the sake of one shape everywhere."""
    for table in ("devices", "reported"):
        with op.batch_alter_table(table) as batch:
            batch.alter_column("boot_count", type_=BigInteger, existing_type=Integer, existing_nullable=False)
