"""Enrolment: the token that an operator pastes on a device, and the HTTP messages between device and server.

A token carries a secret, the digest of the TUF root and the fingerprint of the server's TLS certificate, so that a
device trusts only what its operator gave it. The device makes its own key and sends the public half, in an
envelope that the private half signed: nobody enrols with a key that they do not hold. The same token and key get the
same answer, so that a crash in between locks nobody out.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from edgemm.bundle.manifest import VersionText
from edgemm.errors import BadRequestError, InputError
from edgemm.messages import Short
from edgemm.outlet.escaping import one_line
from edgemm.topics import DeviceId, FleetName
from edgemm.trust import token_text

ENROL_PATH = "/api/v1/enrol"
BLOB_PATH = "/api/v1/blobs/"
TUF_METADATA_PATH = "/tuf/metadata/"
TUF_TARGETS_PATH = "/tuf/targets/"
DIRECTOR_TARGET = "director.json"
"""The TUF target, signed by the top-level targets role, that names the director's public key."""

_PREFIX = "emt1_"
_SECRET_BYTES = 16
_DIGEST_BYTES = 32
Labels = Annotated[dict[Annotated[str, Meta(max_length=64)], Short], Meta(max_length=32)]


def check_labels(labels: Mapping[str, str]) -> None:
    """Refuse labels of people that hide something; what devices say of themselves is shown escaped.

    Raises:
        BadRequestError: a name is empty, or one has control characters, direction marks or what has no width.
    """
    for text in (*labels, *labels.values()):
        if one_line(text) != text:
            raise BadRequestError(f"label '{one_line(text)}': expected letters that can be seen, found others too")
    if "" in labels:
        raise BadRequestError("label: expected NAME=VALUE, found no name")


class EnrolmentToken(Struct, frozen=True, kw_only=True):
    """What the text `emt1_…` carries; digests and fingerprint are 64 hex digits, no fingerprint for plain HTTP."""

    secret: bytes
    root_digest: str
    tls_fingerprint: str | None = None

    @property
    def id(self) -> str:
        """Under which name the server knows the token; says nothing about the secret."""
        return hashlib.sha256(b"edgemm token" + self.secret).hexdigest()[:16]

    def __str__(self) -> str:
        pin = bytes.fromhex(self.tls_fingerprint) if self.tls_fingerprint else b""
        raw = self.secret + bytes.fromhex(self.root_digest) + pin
        return token_text.encode(_PREFIX, raw)


def create_token(*, root_digest: str, tls_fingerprint: str | None) -> EnrolmentToken:
    """Make a token with a fresh secret."""
    secret = secrets.token_bytes(_SECRET_BYTES)
    return EnrolmentToken(secret=secret, root_digest=root_digest, tls_fingerprint=tls_fingerprint)


def parse_token(text: str) -> EnrolmentToken:
    """Read a token back.

    Raises:
        InputError: it is not one, or was cut short when it was copied.
    """
    raw, plain = token_text.decode(_PREFIX, text), _SECRET_BYTES + _DIGEST_BYTES
    if raw is None or len(raw) not in {plain, plain + _DIGEST_BYTES}:
        raise InputError(f"token: expected the text {_PREFIX}… that `edgemm fleet token create` prints, all of it")
    return EnrolmentToken(
        secret=raw[:_SECRET_BYTES],
        root_digest=raw[_SECRET_BYTES:plain].hex(),
        tls_fingerprint=raw[plain:].hex() or None,
    )


class SealedEnrolment(Struct, frozen=True, kw_only=True):
    """`POST /api/v1/enrol`: a DSSE envelope around an `EnrolmentRequest`, signed by the key that stands in it."""

    payload: Annotated[str, Meta(max_length=32 * 1024)]
    payload_type: str = field(name="payloadType")
    signatures: Annotated[tuple[dict[str, str], ...], Meta(min_length=1, max_length=8)]


class EnrolmentRequest(Struct, frozen=True, kw_only=True):
    """A device asks to join; `secret` in hex, `public_key` a TUF key document."""

    v: Literal[1] = 1
    secret: Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    public_key: dict[str, Any]
    name: Short
    labels: Labels = {}
    runtime: VersionText
    platform: Short = ""


class BrokerAccess(Struct, frozen=True, kw_only=True):
    """Where a device finds the broker and who it is there; `ca` is PEM, None without TLS or with a public one."""

    host: str
    port: Annotated[int, Meta(ge=1, le=65535)]
    tls: bool
    username: str
    password: str
    ca: str | None = None


class EnrolmentResponse(Struct, frozen=True, kw_only=True):
    """Who the device is now; `root` is the TUF root document, whose digest must be the token's."""

    v: Literal[1] = 1
    fleet: FleetName
    device: DeviceId
    bearer: str
    """Sent as `Authorization: Bearer …` with every later request of this device."""
    broker: BrokerAccess
    root: str
