"""The server's own TLS certificate: self-signed, pinned by its fingerprint in every token.

Clients compare the SHA-256 of its DER form, so it needs no authority and its names matter to nobody but browsers.
The key is ECDSA P-256, which every TLS client speaks.
"""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgemm import durable
from edgemm.errors import InputError

LIFETIME = timedelta(days=3650)
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_CLOCK_SKEW = timedelta(days=1)


def create_certificate(certificate: Path, key: Path, *, names: Iterable[str], now: datetime) -> None:
    """Make a key pair and a certificate for `names` (hosts and addresses) and localhost, valid for ten years."""
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edgemm fleet")])
    alternatives = [_general_name(name) for name in dict.fromkeys([*names, *_LOCAL_NAMES])]
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        # A certificate that signs itself is trusted by name only where it may be its own authority.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=False)
        .sign(private, hashes.SHA256())
    )
    durable.write(key, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    durable.write(certificate, built.public_bytes(Encoding.PEM))


def fingerprint(certificate: Path) -> str:
    """Return the SHA-256 of a certificate's DER form as 64 hex digits, as tokens carry it.

    Raises:
        InputError: the file is missing or holds no certificate.
    """
    try:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()
    except (OSError, ValueError) as err:
        raise InputError(f"{certificate}: expected a TLS certificate in PEM: {err}") from err


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
