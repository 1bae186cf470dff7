"""A certificate and its private key as one text, which a file can be replaced by at once."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from edgemm.errors import EnvironmentFailure
from edgemm_fleet.broker.broker_settings import TlsFiles

_MOST_BYTES = 256 * 1024


def read_pair(files: TlsFiles) -> bytes:
    """Return a certificate, with those that follow it in its file, and its key: PEM, in this order.

    Raises:
        EnvironmentFailure: one of them cannot be read, is no PEM or of a kind that is not known here, or the key is
            another certificate's.
    """
    try:
        certificate, key = (_read(path) for path in (files.certificate, files.private_key))
        first, private = x509.load_pem_x509_certificate(certificate), load_pem_private_key(key, None)
        fits = first.public_key() == private.public_key()
    except (OSError, ValueError, TypeError) as err:  # TypeError: of a key with a passphrase
        cause = err.strerror if isinstance(err, OSError) and err.strerror else "expected PEM without a passphrase"
        raise EnvironmentFailure(f"{files.certificate} and {files.private_key}: {cause}") from err
    except UnsupportedAlgorithm as err:
        kinds = "expected a key of RSA or an elliptic curve, found one of a kind that is not known here"
        raise EnvironmentFailure(f"{files.certificate} and {files.private_key}: {kinds}") from err
    if not fits:
        raise EnvironmentFailure(f"{files.private_key}: expected the private key of {files.certificate}")
    return certificate.rstrip() + b"\n" + key.rstrip() + b"\n"


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MOST_BYTES)
