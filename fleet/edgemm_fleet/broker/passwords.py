"""Password hashes as Mosquitto's password file writes them: PBKDF2-HMAC-SHA512, `$7$ITERATIONS$SALT$HASH`.

One format serves the embedded broker and Mosquitto, so that a fleet can move from one to the other. Broker passwords
are made by machines and hold at least 128 random bits. More iterations would add nothing to that, so there are few.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

_ITERATIONS = 101  # what mosquitto_passwd writes
_MAX_ITERATIONS = 1_000_000
_SALT_BYTES = 12
_HASH_BYTES = 64


def hash_password(password: str) -> str:
    """Return a salted hash of a broker password."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return _write(_derive(password, salt, _ITERATIONS), salt)


def matches(password: str, stored: str) -> bool:
    """Tell whether a password is the one of a stored hash; a damaged hash matches nothing."""
    try:
        _, kind, iterations, salt, expected = stored.split("$")
        count = int(iterations)
        if kind != "7" or not 0 < count <= _MAX_ITERATIONS:
            return False
        found = _derive(password, base64.b64decode(salt, validate=True), count)
        return hmac.compare_digest(found, base64.b64decode(expected, validate=True))
    except (ValueError, binascii.Error):
        return False


def _derive(password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations, _HASH_BYTES)


def _write(derived: bytes, salt: bytes) -> str:
    return f"$7${_ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(derived).decode()}"
