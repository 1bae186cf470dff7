"""The server's own TLS certificate: self-signed, pinned by its fingerprint in every token.

Clients compare the SHA-256 of its DER form. So it needs no authority, and only browsers care about its names. The key
is ECDSA P-256, which every TLS client speaks. The certificate is valid from 1970 on, since a device without a
battery-backed clock begins there.
"""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
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
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def create_certificate(certificate: Path, key: Path, *, names: Iterable[str], now: datetime) -> None:
    """Make a key pair and a certificate for `names` (hosts and addresses) and localhost, valid for ten years."""
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edgemm fleet")])
    alternatives = [_general_name(name) for name in dict.fromkeys([*names, *_LOCAL_NAMES])]
    key_id = x509.SubjectKeyIdentifier.from_public_key(private.public_key())
    # What OpenSSL's X509_STRICT asks of a certificate that is its own authority; Python 3.13 turns it on.
    strict: tuple[x509.ExtensionType, ...] = (
        key_id,
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id),
        x509.SubjectAlternativeName(alternatives),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_EPOCH)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(), critical=True)
    )
    for extension in strict:
        builder = builder.add_extension(extension, critical=False)
    built = builder.sign(private, hashes.SHA256())
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


def end_of(pem: str) -> float:
    """Return when the first certificate in a PEM text ends, in seconds since the Unix epoch.

    Raises:
        InputError: there is none in it.
    """
    try:
        return x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc.timestamp()
    except ValueError as err:
        raise InputError(f"expected a TLS certificate in PEM: {err}") from err


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
