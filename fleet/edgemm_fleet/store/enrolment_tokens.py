"""The store's table of enrolment tokens: number of devices, expiry and labels. Their secrets are never stored."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import func, insert, select, update

from edgemm.errors import NotFoundError, PermissionDeniedError
from edgemm_fleet.records.records import EnrolmentTokenRecord, Page
from edgemm_fleet.store import paging
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.schema import enrolment_tokens as table


def add(tx: Transaction, token: EnrolmentTokenRecord, *, secret_hash: str) -> None:
    """Record a new token by its id and the hash of its secret."""
    values = {n: getattr(token, n) for n in token.__struct_fields__ if n != "labels"}
    labels = msgspec.json.encode(token.labels).decode()
    tx.execute(insert(table).values(**values, labels_json=labels, secret_hash=secret_hash))


def find(tx: Transaction, secret_hash: str) -> EnrolmentTokenRecord | None:
    """Return the token whose secret has this hash, whatever became of it."""
    row = tx.execute(select(table).where(table.c.secret_hash == secret_hash)).one_or_none()
    return None if row is None else _read(row)


def check(tx: Transaction, token: str, *, now: float) -> None:
    """Refuse a token that lets nobody in any more.

    Raises:
        PermissionDeniedError: it is unknown, expired, revoked, or used up; the message says which.
    """
    row = tx.execute(select(table).where(table.c.id == token)).one_or_none()
    if row is None:
        raise PermissionDeniedError("enrolment token: unknown here; create one with `edgemm fleet token create`")
    if row.revoked_at is not None:
        raise PermissionDeniedError(f"enrolment token {token}: it was revoked; create another one")
    if row.expires_at <= now:
        raise PermissionDeniedError(f"enrolment token {token}: it has expired; create another one")
    if row.uses_allowed is not None and row.uses >= row.uses_allowed:
        raise PermissionDeniedError(
            f"enrolment token {token}: good for {row.uses_allowed} devices and used by as many; create another one"
        )


def spend(tx: Transaction, token: str, *, now: float) -> None:
    """Use a token once; raises as `check` does."""
    check(tx, token, now=now)
    tx.execute(update(table).where(table.c.id == token).values(uses=table.c.uses + 1))


def revoke(tx: Transaction, token: str, *, now: float) -> None:
    """Let no further device in by this token; those that are in stay. Again changes nothing.

    Raises:
        NotFoundError: there is no such token.
    """
    query = update(table).where(table.c.id == token).values(revoked_at=func.coalesce(table.c.revoked_at, now))
    if not tx.execute(query).rowcount:
        raise NotFoundError(f"no enrolment token {token[:80]!r}: `edgemm fleet token list` shows them")


def page(tx: Transaction, *, after: str | None = None, limit: int = paging.DEFAULT_LIMIT) -> Page[EnrolmentTokenRecord]:
    """List the tokens by id."""
    return paging.ascending(tx, select(table), key=table.c.id, after=after, limit=limit, read=_read)


def ending(tx: Transaction, *, now: float, before: float, lasted_s: float, limit: int) -> list[EnrolmentTokenRecord]:
    """Return tokens that hold and end before a time, of those made to last longer than `lasted_s`, the next first."""
    query = (
        select(table)
        .where(table.c.revoked_at.is_(None), table.c.expires_at > now, table.c.expires_at < before)
        .where(table.c.expires_at - table.c.created_at > lasted_s)
        .order_by(table.c.expires_at)
    )
    return [_read(row) for row in tx.execute(query.limit(limit))]


def _read(row: Any) -> EnrolmentTokenRecord:
    return EnrolmentTokenRecord(
        id=row.id,
        labels=msgspec.json.decode(row.labels_json, type=dict[str, str]),
        uses_allowed=row.uses_allowed,
        uses=row.uses,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        root_version=row.root_version,
    )
