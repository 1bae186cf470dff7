"""The routes for enrolment tokens: operators make, list and revoke them."""

from __future__ import annotations

from edgemm.canonical import sha256
from edgemm.trust.enrolment import check_labels, create_token
from edgemm_fleet.api.context import FleetState
from edgemm_fleet.api.messages import CreatedToken, Nothing, PageQuery, TokenRequest
from edgemm_fleet.api.rights import Right
from edgemm_fleet.api.routes import Call, Route
from edgemm_fleet.records.records import EnrolmentTokenRecord, Page
from edgemm_fleet.secrets.person_tokens import token_hash
from edgemm_fleet.store import audit, enrolment_tokens


def add_token(state: FleetState, call: Call[TokenRequest, Nothing]) -> CreatedToken:
    """Make an enrolment token; its text is in this answer and nowhere else."""
    check_labels(call.body.labels)
    root_version = state.repository.root.signed.version
    root = state.repository.root_document(root_version)
    token = create_token(root_digest=sha256(root), tls_fingerprint=state.tls_fingerprint)
    record = EnrolmentTokenRecord(
        id=token.id,
        labels=call.body.labels,
        uses_allowed=call.body.uses,
        uses=0,
        created_by=call.caller.actor,
        created_at=call.now,
        expires_at=call.now + call.body.ttl_s,
        root_version=root_version,
    )
    with state.store.write() as tx:
        enrolment_tokens.add(tx, record, secret_hash=token_hash(token.secret.hex()))
        audit.add(tx, at=call.now, actor=call.caller.actor, action="token.add", subject=token.id)
    return CreatedToken(token=str(token), url=state.public_url, record=record)


def list_tokens(state: FleetState, call: Call[Nothing, PageQuery]) -> Page[EnrolmentTokenRecord]:
    """List all enrolment tokens, also those that ended."""
    with state.store.read() as tx:
        return enrolment_tokens.page(tx, after=call.query.after, limit=call.query.limit)


def revoke_token(state: FleetState, call: Call[Nothing, Nothing]) -> None:
    """Let no further device in by this token."""
    token = call.path["token"]
    with state.store.write() as tx:
        enrolment_tokens.revoke(tx, token, now=call.now)
        audit.add(tx, at=call.now, actor=call.caller.actor, action="token.revoke", subject=token)


ROUTES = (
    Route("POST", "/api/v1/tokens", add_token, Right.OPERATE, CreatedToken, body=TokenRequest, status=201),
    Route("GET", "/api/v1/tokens", list_tokens, Right.OPERATE, Page[EnrolmentTokenRecord], query=PageQuery),
    Route("DELETE", "/api/v1/tokens/<token>", revoke_token, Right.OPERATE, Nothing, status=204),
)
