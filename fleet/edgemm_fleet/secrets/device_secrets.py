"""A device's HTTP bearer and broker password, derived so that the same enrolment has the same answer for ever.

They are derived by HKDF (RFC 5869) from the server's secret and the enrolment token's. The database keeps hashes alone,
and neither a stolen database nor a stolen token is enough to log in.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_BYTES = 24


@dataclass(frozen=True)
class DeviceSecrets:
    """What one device proves itself with."""

    bearer: str
    broker_password: str

    @classmethod
    def derive(cls, server_secret: bytes, *, token_secret: bytes, key_id: str) -> Self:
        """Derive the secrets of the device that enrols with this token and key."""
        bearer, password = (
            _derive(server_secret, salt=token_secret, info=f"edgemm v1 {use} {key_id}".encode())
            for use in ("bearer", "broker")
        )
        return cls(bearer=f"emd1_{bearer}", broker_password=password)


def _derive(secret: bytes, *, salt: bytes, info: bytes) -> str:
    derived = HKDF(SHA256(), _BYTES, salt, info).derive(secret)
    return base64.urlsafe_b64encode(derived).decode()
