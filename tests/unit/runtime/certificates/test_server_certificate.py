"""The end of a certificate, against the one that `cryptography` reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from edgemm_runtime.certificates.server_certificate import certificate_end

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EC, RSA = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)


def pem(ends: datetime, *, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = EC, names: int = 1) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a" * 60)] * names)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(1960, 1, 1, tzinfo=UTC))
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    return built.public_bytes(Encoding.PEM)


@pytest.mark.parametrize("key", [EC, RSA], ids=["ec", "rsa"])
@pytest.mark.parametrize("year", [1970, 1999, 2000, 2026, 2049, 2050, 2150, 9999])
@pytest.mark.parametrize("names", [1, 20])
def test_it_is_the_end_that_cryptography_reads(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, year: int, names: int
) -> None:
    ends = datetime(year, 12, 31, 23, 59, 58, tzinfo=UTC)
    found = pem(ends, key=key, names=names)
    assert certificate_end(found) == x509.load_pem_x509_certificate(found).not_valid_after_utc == ends


def test_the_first_of_a_chain_counts_and_text_around_it_does_not() -> None:
    first, second = pem(NOW), pem(NOW + timedelta(days=1))
    assert certificate_end(b"subject=mine\r\n" + first.replace(b"\n", b"\r\n") + b"\n" + second) == NOW


def test_what_is_no_certificate_is_a_value_error_wherever_it_is_cut() -> None:
    whole = pem(NOW)
    for length in range(len(whole) - 1):
        with pytest.raises(ValueError):  # noqa: PT011 - of many kinds
            certificate_end(whole[:length])
    body = whole.splitlines()[1]
    for broken in (b"", b"!" + body[1:], body[:8], b"AAAA", body[::-1]):
        with pytest.raises(ValueError):  # noqa: PT011 - likewise
            certificate_end(b"-----BEGIN CERTIFICATE-----\n" + broken + b"\n-----END CERTIFICATE-----\n")
