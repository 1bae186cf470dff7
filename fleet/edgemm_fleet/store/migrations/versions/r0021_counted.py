"""The indexes by which devices that refuse, and those of which there are two, are counted alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"

_DUPLICATE = sa.text("duplicate_at IS NOT NULL AND removed_at IS NULL")
_REFUSED = sa.text("refusal_json IS NOT NULL")


def upgrade() -> None:
    """Make them."""
    op.create_index("devices_duplicate", "devices", ["id"], sqlite_where=_DUPLICATE, postgresql_where=_DUPLICATE)
    op.create_index("desired_refused", "desired", ["device"], sqlite_where=_REFUSED, postgresql_where=_REFUSED)
