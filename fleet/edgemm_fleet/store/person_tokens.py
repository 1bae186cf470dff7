"""The store's table of people's tokens: one row per token, found by its hash. Tokens expire and can be revoked."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, insert, select, update

from edgemm.errors import ConflictError, NotFoundError
from edgemm_fleet.records.records import Page, PersonToken, Role
from edgemm_fleet.store import paging
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.schema import person_tokens as table


def add(tx: Transaction, token: PersonToken, *, token_hash: str) -> None:
    """Record a new token of a person."""
    values = {name: getattr(token, name) for name in token.__struct_fields__}
    tx.execute(insert(table).values(**values | {"role": token.role.value}, token_hash=token_hash))


def find(tx: Transaction, token_hash: str, *, now: float) -> PersonToken | None:
    """Return the token with this hash if it still holds."""
    query = select(table).where(
        table.c.token_hash == token_hash, table.c.revoked_at.is_(None), table.c.expires_at > now
    )
    row = tx.execute(query).one_or_none()
    return None if row is None else _read(row)


def expired_at(tx: Transaction, token_hash: str, *, now: float) -> float | None:
    """Return when a token expired that was not revoked; None: it is another kind of wrong."""
    query = select(table.c.expires_at).where(table.c.token_hash == token_hash, table.c.revoked_at.is_(None))
    found = tx.execute(query).scalar()
    return float(found) if found is not None and found <= now else None


def revoke(tx: Transaction, token: str, *, now: float) -> None:
    """End one token, unless nobody could administer the fleet then.

    Raises:
        NotFoundError: there is no such token.
        ConflictError: it is the last one of an administrator that holds.
    """
    row = tx.execute(select(table).where(table.c.id == token)).one_or_none()
    if row is None:
        raise NotFoundError(f"no person's token {token[:80]!r}: `edgemm fleet people list` shows them")
    holds = row.revoked_at is None and row.expires_at > now
    if holds and row.role == Role.ADMIN.value and administrators(tx, now=now) == 1:
        raise ConflictError(
            f"token {token} is the last one of an administrator: make another one first: "
            "edgemm fleet people add NAME --role admin"
        )
    tx.execute(update(table).where(table.c.id == token).values(revoked_at=now))


def administrators(tx: Transaction, *, now: float) -> int:
    """Return how many tokens of administrators hold."""
    holding = (table.c.role == Role.ADMIN.value, table.c.revoked_at.is_(None), table.c.expires_at > now)
    return int(tx.execute(select(func.count()).select_from(table).where(*holding)).scalar_one())


def ending(tx: Transaction, *, now: float, before: float, lasted_s: float, limit: int) -> list[PersonToken]:
    """Return tokens that hold and end before a time, of those made to last longer than `lasted_s`, the next first."""
    query = (
        select(table)
        .where(table.c.revoked_at.is_(None), table.c.expires_at > now, table.c.expires_at < before)
        .where(table.c.expires_at - table.c.created_at > lasted_s)
        .order_by(table.c.expires_at)
    )
    return [_read(row) for row in tx.execute(query.limit(limit))]


def page(tx: Transaction, *, after: str | None = None, limit: int = paging.DEFAULT_LIMIT) -> Page[PersonToken]:
    """List all tokens by id, also those that ended."""
    return paging.ascending(tx, select(table), key=table.c.id, after=after, limit=limit, read=_read)


def _read(row: Any) -> PersonToken:
    return PersonToken(
        id=row.id,
        person=row.person,
        role=Role(row.role),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
