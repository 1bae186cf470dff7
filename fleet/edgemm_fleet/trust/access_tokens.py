"""Tokens of people: a secret, and the fingerprint of the certificate of the server that made it.

Four bytes of checksum notice a token that was cut short where the fingerprint would begin. The text `emp1_…` is sent as it is: `Authorization: Bearer emp1_…`. The server keeps only its SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass

from edgemm.canonical import sha256
from edgemm.errors import InputError

_PREFIX = "emp1_"
_SECRET_BYTES = 24
_PIN_BYTES = 32
_CHECKSUM_BYTES = 4


@dataclass(frozen=True)
class AccessToken:
    """What the text carries; no fingerprint for plain HTTP on loopback."""

    secret: bytes
    tls_fingerprint: str | None = None

    def __str__(self) -> str:
        pin = bytes.fromhex(self.tls_fingerprint) if self.tls_fingerprint else b""
        raw = self.secret + pin
        return _PREFIX + base64.urlsafe_b64encode(raw + _checksum(raw)).decode().rstrip("=")


def create_access_token(tls_fingerprint: str | None) -> AccessToken:
    """Make a token with a fresh secret."""
    return AccessToken(secrets.token_bytes(_SECRET_BYTES), tls_fingerprint)


def parse_access_token(text: str) -> AccessToken:
    """Read a token back.

    Raises:
        InputError: it is not one, or was cut short when it was copied.
    """
    body = text.strip().removeprefix(_PREFIX)
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raw = b""
    raw, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    whole = len(raw) in {_SECRET_BYTES, _SECRET_BYTES + _PIN_BYTES} and checksum == _checksum(raw)
    if not whole or not text.strip().startswith(_PREFIX):
        raise InputError(f"token: expected the text {_PREFIX}… that `edgemm fleet people add` prints, all of it")
    return AccessToken(raw[:_SECRET_BYTES], raw[_SECRET_BYTES:].hex() or None)


def token_hash(text: str) -> str:
    """Return under which hash the server knows a bearer or a secret."""
    return sha256(text.encode())


def _checksum(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()[:_CHECKSUM_BYTES]
