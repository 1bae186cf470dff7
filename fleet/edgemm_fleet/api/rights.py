"""Access rights of the HTTP API: the table of rights, and the owner of a bearer token."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from enum import Enum

from werkzeug.exceptions import TooManyRequests, Unauthorized

from edgemm import times
from edgemm.errors import PermissionDeniedError
from edgemm_fleet.records.records import Device, PersonToken, Role
from edgemm_fleet.secrets.person_tokens import token_hash
from edgemm_fleet.secrets.wrong_tokens import WrongTokens
from edgemm_fleet.store import devices, person_tokens
from edgemm_fleet.store.database import Store

_EVERYBODY = frozenset(Role)


class Right(Enum):
    """What a route asks of its caller."""

    PUBLIC = "no token"
    FETCH = "a device, or any person"
    READ = "any person"
    OPERATE = "operator or admin"
    PUBLISH = "publisher or admin"
    ADMIN = "admin"

    @property
    def roles(self) -> frozenset[Role]:
        """The roles of people who may."""
        return {
            Right.PUBLIC: _EVERYBODY,
            Right.FETCH: _EVERYBODY,
            Right.READ: _EVERYBODY,
            Right.OPERATE: frozenset({Role.OPERATOR, Role.ADMIN}),
            Right.PUBLISH: frozenset({Role.PUBLISHER, Role.ADMIN}),
            Right.ADMIN: frozenset({Role.ADMIN}),
        }[self]


@dataclass(frozen=True)
class Caller:
    """Whose token came with a request: a person's, a device's, or none."""

    person: PersonToken | None = None
    device: Device | None = None

    @property
    def actor(self) -> str:
        """How the audit log names the caller."""
        if self.person is not None:
            return f"person:{self.person.person}"
        return f"device:{self.device.id}" if self.device is not None else "nobody"

    @property
    def is_admin(self) -> bool:
        """Tell whether this is an administrator."""
        return self.person is not None and self.person.role is Role.ADMIN


@dataclass(frozen=True)
class ShownToken:
    """A token that somebody shows, and whence."""

    token: str
    """Its hash."""
    address: str
    wrong_tokens: WrongTokens

    def admit(self) -> None:
        """Refuse it unread where it has failed often.

        Raises:
            TooManyRequests: it has.
        """
        if wait_s := self.wrong_tokens.wait_s(self.token, now_s=time.monotonic()):
            raise _too_many("this token was refused several times", wait_s)

    def failed(self) -> None:
        """Note that it is wrong.

        Raises:
            TooManyRequests: as were many of this address.
        """
        if wait_s := self.wrong_tokens.failed(self.address, self.token, now_s=time.monotonic()):
            raise _too_many("too many wrong tokens come from your address", wait_s)


def shown_token(header: str | None) -> str | None:
    """Return the token of an `Authorization` header; None where it has none."""
    scheme, _, bearer = (header or "").partition(" ")
    return bearer.strip() or None if scheme.lower() == "bearer" else None


def authenticate(store: Store, header: str | None, *, now: float, address: str, wrong_tokens: WrongTokens) -> Caller:
    """Find out whose token an `Authorization` header shows.

    Raises:
        Unauthorized: there is none, it is unknown, or it no longer holds.
        TooManyRequests: so are many of this address, or this one was refused often.
    """
    token = shown_token(header)
    if token is None:
        raise Unauthorized("this needs a token: send Authorization: Bearer TOKEN")
    hashed = token_hash(token)
    shown = ShownToken(hashed, address, wrong_tokens)
    shown.admit()
    with store.read() as tx:
        person = person_tokens.find(tx, hashed, now=now)
        device = None if person else devices.find_by_bearer(tx, hashed)
        expired_at = None if person or device else person_tokens.expired_at(tx, hashed, now=now)
    if person is None and device is None:
        shown.failed()
        if expired_at is not None:  # who holds it may know, and nobody else can ask
            raise Unauthorized(
                f"this token expired at {times.to_text(expired_at)}, and the clock of the server shows "
                f"{times.to_text(now)}: where that is wrong, set it (timedatectl set-ntp true)"
            )
        raise Unauthorized("this token is unknown here, or was revoked")
    wrong_tokens.passed(hashed)
    return Caller(person, device)


def _too_many(why: str, wait_s: float) -> TooManyRequests:
    seconds = math.ceil(wait_s)
    return TooManyRequests(f"{why}: try again in {seconds} s", retry_after=seconds)


def check(caller: Caller, access: Right) -> None:
    """Let a caller pass or not.

    Raises:
        PermissionDeniedError: not with this role.
    """
    if caller.person is not None and caller.person.role in access.roles:
        return
    if caller.device is not None and access is Right.FETCH:
        return
    found = caller.person.role if caller.person else "a device's token"
    raise PermissionDeniedError(f"this needs the role of {access.value}; this token has {found}")
