"""Plans that may reach nobody, and groups that note how many devices matched: both are fields with a default."""

from __future__ import annotations

revision = "0012"
down_revision = "0010"


def upgrade() -> None:
    """Leave the tables as they are: documents without these fields are read as before."""
