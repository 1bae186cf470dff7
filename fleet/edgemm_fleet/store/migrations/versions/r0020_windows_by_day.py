"""Windows that expire by dropping: the newest of each boot, parts of the history, and what came behind a gap."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Make the tables; the windows that are here stay where they are until they are too old."""
    text = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    number = sa.Integer().with_variant(sa.BigInteger(), "postgresql")
    op.create_table(
        "latest",
        sa.Column("device", text, primary_key=True),
        sa.Column("boot", text, primary_key=True),
        sa.Column("id", sa.BigInteger, nullable=False),
        sa.Column("sequence", number, nullable=False),
        sa.Column("window", sa.LargeBinary, nullable=False),
        sa.Column("received_at", sa.Float, nullable=False),
    )
    parts = op.create_table(
        "history_parts",
        sa.Column("kind", text, primary_key=True),
        sa.Column("number", number, primary_key=True),
        sa.Column("begun_at", sa.Float, nullable=False),
        sa.Column("newest_at", sa.Float, nullable=False),
        sa.Column("rows", number, nullable=False),
        sa.Column("next_id", sa.BigInteger, nullable=False),
    )
    op.add_column("positions", sa.Column("above", sa.LargeBinary))
    if (last := op.get_bind().execute(sa.text("SELECT max(id) FROM telemetry")).scalar()) is not None:
        nothing = {"begun_at": 0.0, "newest_at": 0.0, "rows": 0}
        assert parts is not None
        op.bulk_insert(parts, [{"kind": "windows", "number": 0, "next_id": last + 1} | nothing])
