"""Generations made from the time, beyond 32 bits; what a device acts on, and when it is told again what it does not."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Float, Integer, String, Text, text

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Widen the numbers (SQLite holds 64 bits in either), and add the columns.

    What was sent before has no hash: it is made when it is needed. What waits for an answer is sent again at once.
    """
    for table, columns in {
        "desired": ["generation"],
        "reported": ["generation", "highest_generation"],
        "members": ["generation"],
    }.items():
        with op.batch_alter_table(table) as batch:
            for column in columns:
                batch.alter_column(column, type_=BigInteger, existing_type=Integer, existing_nullable=False)
    with op.batch_alter_table("desired") as batch:
        batch.add_column(Column("content_hash", String))
        batch.add_column(Column("tries", Integer, nullable=False, server_default="0"))
        batch.add_column(Column("again_at", Float))
        batch.add_column(Column("refusal_json", Text))
    op.create_index("desired_again", "desired", ["again_at"], sqlite_where=text("again_at IS NOT NULL"))
    op.execute(
        "UPDATE desired SET again_at = sent_at WHERE sent_at IS NOT NULL AND NOT EXISTS "
        "(SELECT 1 FROM reported WHERE reported.device = desired.device AND reported.generation = desired.generation)"
    )
