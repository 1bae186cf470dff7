"""Secrets as text that people copy: a prefix that tells the kind of secret, base64url, and a checksum.

The checksum is four bytes of SHA-256. It notices a token that was cut short or mistyped, and protects nothing.
"""

from __future__ import annotations

import base64
import hashlib

_CHECKSUM_BYTES = 4


def encode(prefix: str, raw: bytes) -> str:
    """Return `raw` as text that begins with `prefix`."""
    return prefix + base64.urlsafe_b64encode(raw + _checksum(raw)).rstrip(b"=").decode()


def decode(prefix: str, text: str) -> bytes | None:
    """Return what a text carries, or None where it is not the whole of a text with this prefix."""
    body = text.strip()
    if not body.startswith(prefix):
        return None
    body = body.removeprefix(prefix)
    try:
        whole = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    raw, checksum = whole[:-_CHECKSUM_BYTES], whole[-_CHECKSUM_BYTES:]
    return raw if checksum == _checksum(raw) else None


def _checksum(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()[:_CHECKSUM_BYTES]
