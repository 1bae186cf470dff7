"""A database that says its revision: an edgemm that knows no revisions refuses it from now on."""

from __future__ import annotations

from alembic import op
from sqlalchemy import column, table

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Say in the old place, too, that this is newer than `1`."""
    meta = table("meta", column("key"), column("value"))
    op.execute(meta.delete().where(meta.c.key == "schema_version"))
    op.execute(meta.insert().values(key="schema_version", value="2"))
