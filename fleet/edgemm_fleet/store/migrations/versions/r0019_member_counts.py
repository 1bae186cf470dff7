"""Counts of members by delta, members that are chosen before they are told, and versions that are taken back in parts.

A member that has not begun to activate ends at its group's deadline, and has none of its own any more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

_COUNTED = """
INSERT INTO member_counts (rollout, "group", state, met, number)
SELECT rollout, "group", counted, met, count(*) FROM (
    SELECT rollout, "group", update_state IS NOT NULL AS met,
           CASE WHEN state = 'excused' AND coalesce(reason, '') = 'removed' AND update_state IS NULL
                THEN 'removed' ELSE state END AS counted
    FROM members
) AS each_one GROUP BY rollout, "group", counted, met
"""
_OWN_DEADLINES = "UPDATE members SET deadline_at = NULL WHERE state IN ('pending', 'refused', 'reached')"
_TURNED_BACK = """
UPDATE rollouts SET taken_back = '' WHERE state IN ('halted', 'canceled') AND id IN (
    SELECT rollout FROM members WHERE state IN ('pending', 'refused', 'reached')
)
"""


def upgrade() -> None:
    """Count the members that are there; what was taken back so far was taken back at once.

    But for members that were activating then, and were heard of before that again: nothing else would end them now.
    """
    text = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    op.create_table(
        "member_counts",
        sa.Column("rollout", text, sa.ForeignKey("rollouts.id"), primary_key=True),
        sa.Column("group", sa.Integer().with_variant(sa.BigInteger(), "postgresql"), primary_key=True),
        sa.Column("state", text, primary_key=True),
        sa.Column("met", sa.Boolean, primary_key=True),
        sa.Column("number", sa.Integer().with_variant(sa.BigInteger(), "postgresql"), nullable=False),
    )
    op.execute(_COUNTED)
    op.execute(_OWN_DEADLINES)
    op.add_column("rollouts", sa.Column("taken_back", text))
    op.execute(_TURNED_BACK)
    op.create_index(
        "rollouts_taking_back",
        "rollouts",
        ["number"],
        sqlite_where=sa.text("taken_back IS NOT NULL"),
        postgresql_where=sa.text("taken_back IS NOT NULL"),
    )
    op.drop_index("members_by_group", "members")
    op.create_index("members_by_state", "members", ["rollout", "state", "group", "device"])
