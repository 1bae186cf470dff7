"""The manager's time in the store: the latest by which it made a generation, which a later one does not fall behind."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from edgemm.messages.generations import ACCEPTED_AHEAD_S
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.schema import meta

_KEY = "last_now"


def latest(tx: Transaction, *, now: float) -> float:
    """Return the clock, or the latest time that was kept where the clock was put back since.

    One that is decades ahead was never a time: what is made of it would be taken by no device.
    """
    kept = tx.execute(select(meta.c.value).where(meta.c.key == _KEY)).scalar()
    last = float(kept) if kept is not None else now
    return max(now, last) if last <= now + ACCEPTED_AHEAD_S else now


def keep(tx: Transaction, time_s: float) -> None:
    """Keep the time by which a generation was made."""
    query = insert(meta).values(key=_KEY, value=repr(time_s))
    tx.execute(query.on_conflict_do_update(index_elements=["key"], set_={"value": query.excluded.value}))
