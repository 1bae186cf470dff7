"""The store's table of people's tokens: one row per token, found by its hash. Tokens expire and can be revoked."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert, select, update

from edgemm.errors import NotFoundError
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


def revoke(tx: Transaction, token: str, *, now: float) -> None:
    """End one token.

    Raises:
        NotFoundError: there is no such token.
    """
    if not tx.execute(update(table).where(table.c.id == token).values(revoked_at=now)).rowcount:
        raise NotFoundError(f"no person's token {token[:80]!r}: `edgemm fleet people list` shows them")


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
