"""The route for enrolment: a device shows a token and its public key, and learns its identity.

The same token and key get the same answer, also after the token is used up, so that a crash on either side locks no
device out. Only `remove` ends this: after it, the key needs another token to come in again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import msgspec
from securesystemslib.signer import Key

from edgemm import canonical
from edgemm.errors import EdgemmError, EnvironmentFailure, PermissionDeniedError
from edgemm.trust.enrolment import ENROL_PATH, EnrolmentRequest, EnrolmentResponse, SealedEnrolment
from edgemm.trust.signing import key_document, unseal_enrolment
from edgemm_fleet.api.context import FleetState
from edgemm_fleet.api.error_replies import served
from edgemm_fleet.api.messages import Nothing
from edgemm_fleet.api.rights import Right, ShownToken
from edgemm_fleet.api.routes import Call, Route
from edgemm_fleet.broker.passwords import hash_password
from edgemm_fleet.director.readmission import readmit
from edgemm_fleet.http.answers import ServedAnswer
from edgemm_fleet.http.environ import HOLD
from edgemm_fleet.records.records import Device, EnrolmentTokenRecord
from edgemm_fleet.secrets.device_secrets import DeviceSecrets
from edgemm_fleet.secrets.person_tokens import token_hash
from edgemm_fleet.store import audit, devices, enrolment_tokens
from edgemm_fleet.store.database import Transaction

_SLUG_CHARACTERS = 40
_KEY_CHARACTERS = 8
_Told = Callable[[EdgemmError | None], None]
"""Called once something is done; with the reason where it was not."""


def enrol(state: FleetState, call: Call[SealedEnrolment, Nothing]) -> EnrolmentResponse:
    """Let a device in by an enrolment token; the same token and key get the same answer."""
    request, key = unseal_enrolment(canonical.encode(call.body))
    shown = ShownToken(token_hash(request.secret), call.request.remote_addr or "", state.wrong_tokens)
    shown.admit()
    secrets = DeviceSecrets.derive(state.secret, token_secret=bytes.fromhex(request.secret), key_id=key.keyid)
    with state.store.read() as tx:  # anybody may ask: a stranger must not make the writers wait
        token, known = enrolment_tokens.find(tx, shown.token), devices.find_by_key(tx, key.keyid)
    if token is None:
        shown.failed()
        raise PermissionDeniedError("enrolment token: unknown to this fleet; make one: edgemm fleet token create")
    enrolment = _Enrolment(request, key, secrets, token, call.now)
    was_in = False
    if known is not None:
        with state.store.write() as tx:
            was_in = enrolment.shut_out(tx)
    if known is not None and was_in:
        device = known.id
        _wait(call, partial(_let_in_anew, state, enrolment))
    else:
        with state.store.write() as tx:
            device = enrolment.run(tx).id
        _wait(call, state.credentials.admit)
    return EnrolmentResponse(
        fleet=state.fleet,
        device=device,
        bearer=secrets.bearer,
        broker=state.credentials.access(device, secrets.broker_password),
        root=state.repository.root_document(token.root_version).decode(),
    )


def _wait(call: Call[SealedEnrolment, Nothing], begin: Callable[[_Told], None]) -> None:
    """Have the answer wait until what begins here is done; with many others, and without a thread.

    Raises:
        EdgemmError: it could not be done, where this is noticed while a thread waits.
    """
    hold = call.request.environ.get(HOLD)
    if hold is None:  # of a server that can only wait in its thread
        done: Future[EdgemmError | None] = Future()
        begin(done.set_result)
        if (failure := done.result()) is not None:
            raise failure
        return

    def after(give: Callable[[ServedAnswer | None], None]) -> None:
        begin(lambda failure: give(None if failure is None else served(failure)))

    hold(after)


def _let_in_anew(state: FleetState, enrolment: _Enrolment, told: _Told) -> None:
    """Let a device in once the broker has shut out who is connected under its name; then wait for its own login."""

    def shut_out(failure: EdgemmError | None) -> None:
        if failure is None:
            failure = EnvironmentFailure("this server failed: see its log; the same enrolment may be sent again")
            try:
                with state.store.write() as tx:
                    enrolment.run(tx)
                failure = None
            except EdgemmError as err:
                failure = err
            finally:
                if failure is not None:
                    told(failure)
            if failure is None:
                state.credentials.admit(told)
        else:
            told(failure)

    state.credentials.shut_out(shut_out)


def device_id(name: str, key_id: str) -> str:
    """Return a readable id: the name in small letters, and the beginning of the key's digest."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower())[:_SLUG_CHARACTERS].strip("-")
    return f"{slug or 'device'}-{key_id[:_KEY_CHARACTERS]}"


@dataclass(frozen=True)
class _Enrolment:
    """One request whose token is known."""

    request: EnrolmentRequest
    key: Key
    secrets: DeviceSecrets
    token: EnrolmentTokenRecord
    now: float

    def shut_out(self, tx: Transaction) -> bool:
        """End the rights of a device that is in and is to come in anew; tell whether there was one.

        Whoever is connected under its name must be gone before it is let in as one that has said nothing yet. Where
        the rest fails, the same request lets it in.
        """
        known = devices.find_by_key(tx, self.key.keyid)
        if known is None or known.removed_at is not None or known.token_id == self.token.id:
            return False
        enrolment_tokens.check(tx, self.token.id, now=self.now)
        devices.remove(tx, known.id, now=self.now)
        return True

    def run(self, tx: Transaction) -> Device:
        """Find or record the device.

        Raises:
            PermissionDeniedError: the token no longer holds, or the device was removed.
        """
        same = devices.find_by_enrolment(tx, token_id=self.token.id, key_id=self.key.keyid)
        if same is not None and same.removed_at is not None:
            raise PermissionDeniedError(
                f"device {same.id}: it was removed from the fleet; to let it in again, make another token: "
                "edgemm fleet token create"
            )
        if same is not None:
            return same
        enrolment_tokens.spend(tx, self.token.id, now=self.now)
        known = devices.find_by_key(tx, self.key.keyid)
        device = self._device(known)
        hashes = {
            "bearer_hash": token_hash(self.secrets.bearer),
            "broker_hash": hash_password(self.secrets.broker_password),
        }
        if known is None:
            devices.add(tx, device, **hashes)
        else:
            readmit(tx, device, **hashes)
        audit.add(tx, at=self.now, actor=f"token:{self.token.id}", action="device.enrol", subject=device.id)
        return device

    def _device(self, known: Device | None) -> Device:
        """Return the record to keep; a key that is known keeps its id."""
        fresh = Device(
            id=device_id(self.request.name, self.key.keyid),
            name=self.request.name,
            labels={**self.request.labels, **self.token.labels},
            key=key_document(self.key),
            key_id=self.key.keyid,
            token_id=self.token.id,
            runtime=self.request.runtime,
            platform=self.request.platform,
            enrolled_at=self.now,
        )
        return fresh if known is None else msgspec.structs.replace(fresh, id=known.id)


ROUTES = (Route("POST", ENROL_PATH, enrol, Right.PUBLIC, EnrolmentResponse, body=SealedEnrolment),)
