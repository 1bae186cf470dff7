"""The rows of an hour of one device, page by page."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select

from edgemm_fleet.store.dialects.dropped_tables import until_one_is_gone
from edgemm_fleet.store.history import parts
from edgemm_fleet.store.history.history_tables import HistoryKind, part_table

HOUR_S = 3600


def newest_first(tx: Connection, device: str, *, below: int | None, since: float | None, most: int) -> list[Row[Any]]:
    """Return at most so many rows of a device by falling hour, counted from the epoch.

    Args:
        tx: the transaction.
        device: its id.
        below: only hours before this one.
        since: only hours that end after this time, in seconds since the epoch.
        most: how many.
    """
    found: dict[int, Row[Any]] = {}
    with until_one_is_gone(tx):  # then those before it are gone too
        for part in parts.parts_of(tx, HistoryKind.HEALTH):
            table = part_table(HistoryKind.HEALTH, part.number)
            query = select(table).where(table.c.device == device).order_by(table.c.hour.desc()).limit(most)
            if below is not None:
                query = query.where(table.c.hour < below)
            if since is not None:
                query = query.where(table.c.hour >= int(since // HOUR_S))
            # A clock that was set makes an hour be in two parts: the one that was written last holds.
            found = {row.hour: row for row in tx.execute(query)} | found
    return [found[hour] for hour in sorted(found, reverse=True)[:most]]
