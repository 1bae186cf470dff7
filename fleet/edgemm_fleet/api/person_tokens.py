"""The routes for people's tokens: administrators make, list and revoke them."""

from __future__ import annotations

import secrets

from edgemm_fleet.api.context import FleetState
from edgemm_fleet.api.messages import CreatedPerson, Nothing, PageQuery, PersonRequest
from edgemm_fleet.api.rights import Right
from edgemm_fleet.api.routes import Call, Route
from edgemm_fleet.records.records import Page, PersonToken
from edgemm_fleet.secrets.person_tokens import create_access_token, token_hash
from edgemm_fleet.store import audit, person_tokens
from edgemm_fleet.store.database import Transaction


def add_person(state: FleetState, call: Call[PersonRequest, Nothing]) -> CreatedPerson:
    """Make a token for a person; its text is in this answer and nowhere else."""
    with state.store.write() as tx:
        record, text = issue(tx, call.body, tls_fingerprint=state.tls_fingerprint, now=call.now)
        detail = f"role {record.role}, token {record.id}"
        actor = call.caller.actor
        audit.add(tx, at=call.now, actor=actor, action="people.add", subject=record.person, detail=detail)
    return CreatedPerson(token=text, url=state.public_url, record=record)


def list_people(state: FleetState, call: Call[Nothing, PageQuery]) -> Page[PersonToken]:
    """List all tokens of people, also those that ended."""
    with state.store.read() as tx:
        return person_tokens.page(tx, after=call.query.after, limit=call.query.limit)


def revoke_person(state: FleetState, call: Call[Nothing, Nothing]) -> None:
    """End a person's token at once."""
    token = call.path["token"]
    with state.store.write() as tx:
        person_tokens.revoke(tx, token, now=call.now)
        audit.add(tx, at=call.now, actor=call.caller.actor, action="people.revoke", subject=token)


def issue(
    tx: Transaction, request: PersonRequest, *, tls_fingerprint: str | None, now: float
) -> tuple[PersonToken, str]:
    """Make and record a person's token; returns its record and its text."""
    text = str(create_access_token(tls_fingerprint))
    record = PersonToken(
        id=f"p-{secrets.token_hex(4)}",
        person=request.person,
        role=request.role,
        created_at=now,
        expires_at=now + request.ttl_s,
    )
    person_tokens.add(tx, record, token_hash=token_hash(text))
    return record, text


ROUTES = (
    Route("POST", "/api/v1/people", add_person, Right.ADMIN, CreatedPerson, body=PersonRequest, status=201),
    Route("GET", "/api/v1/people", list_people, Right.ADMIN, Page[PersonToken], query=PageQuery),
    Route("DELETE", "/api/v1/people/<token>", revoke_person, Right.ADMIN, Nothing, status=204),
)
