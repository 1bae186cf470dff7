"""People's access tokens: a secret, and the fingerprint of the certificate of the server that made it.

The text `emp1_…` is sent as it is: `Authorization: Bearer emp1_…`. The server keeps only its SHA-256.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from edgemm.canonical import sha256
from edgemm.errors import InputError
from edgemm.trust import token_text

_PREFIX = "emp1_"
_SECRET_BYTES = 24
_PIN_BYTES = 32


@dataclass(frozen=True)
class AccessToken:
    """What the text carries; no fingerprint for plain HTTP on loopback."""

    secret: bytes
    tls_fingerprint: str | None = None

    def __str__(self) -> str:
        pin = bytes.fromhex(self.tls_fingerprint) if self.tls_fingerprint else b""
        raw = self.secret + pin
        return token_text.encode(_PREFIX, raw)


def create_access_token(tls_fingerprint: str | None) -> AccessToken:
    """Make a token with a fresh secret."""
    return AccessToken(secrets.token_bytes(_SECRET_BYTES), tls_fingerprint)


def parse_access_token(text: str) -> AccessToken:
    """Read a token back.

    Raises:
        InputError: it is not one, or was cut short when it was copied.
    """
    raw = token_text.decode(_PREFIX, text)
    if raw is None or len(raw) not in {_SECRET_BYTES, _SECRET_BYTES + _PIN_BYTES}:
        raise InputError(f"token: expected the text {_PREFIX}… that `edgemm fleet people add` prints, all of it")
    return AccessToken(raw[:_SECRET_BYTES], raw[_SECRET_BYTES:].hex() or None)


def token_hash(text: str) -> str:
    """Return under which hash the server knows a bearer or a secret."""
    return sha256(text.encode())
