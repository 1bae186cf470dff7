"""The members of a rollout counted one by one, to compare with the counts that the store keeps."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import delete, insert, select

from edgemm_fleet.store import Transaction
from edgemm_fleet.store.membership import member_counts
from edgemm_fleet.store.membership.member_counts import CountedAs
from edgemm_fleet.store.membership.member_tables import member_counts as table
from edgemm_fleet.store.membership.member_tables import members


def recounted(tx: Transaction, rollout: str) -> dict[CountedAs, int]:
    """Return how many members count as what, from their rows."""
    rows = tx.execute(select(members).where(members.c.rollout == rollout))
    return dict(
        Counter(
            member_counts.counted_as(group=row.group, state=row.state, update_state=row.update_state, reason=row.reason)
            for row in rows
        )
    )


def count_anew(tx: Transaction, rollout: str) -> None:
    """Put the counts right after members were changed by other means."""
    found = recounted(tx, rollout)
    tx.execute(delete(table).where(table.c.rollout == rollout))
    if found:
        tx.execute(insert(table), [{"rollout": rollout, **key._asdict(), "number": n} for key, n in found.items()])
