"""A server's TLS: a certificate and its key, which can be renewed while connections are open.

A connection keeps the certificate that its handshake began with, and the next one gets the new certificate. A context
of OpenSSL that is changed while handshakes use it is none that anybody vouches for, so each certificate has its own.
"""

from __future__ import annotations

import socket
import ssl
import time
from datetime import datetime
from pathlib import Path

from edgemm.errors import InputError
from edgemm_runtime.certificates.server_certificate import certificate_end

_MAX_BYTES = 1024 * 1024
_MISMATCH = "KEY_VALUES_MISMATCH"


class ServerTls:
    """What a listener wraps its clients' sockets by.

    Raises:
        InputError: the certificate or the key cannot be read, is no PEM, is encrypted, or they do not belong together.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._ends = _end(certificate)
        self._context = _context(certificate, key)

    @property
    def ends(self) -> datetime:
        """When the certificate ends."""
        return self._ends

    @property
    def remaining_s(self) -> float:
        """The seconds until the certificate ends by this machine's clock; negative once it has."""
        return self._ends.timestamp() - time.time()

    def wrap_socket(self, sock: socket.socket) -> ssl.SSLSocket:
        """Return a socket of a client whose handshake is still to come."""
        return self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def renew(self, other: ServerTls) -> None:
        """Give clients that come from now on the certificate of another one."""
        self._ends, self._context = other._ends, other._context


def read_certificate_end(certificate: Path) -> datetime:
    """Return when the certificate in a file ends.

    Raises:
        InputError: the file cannot be read, or has no certificate in PEM.
    """
    return _end(certificate)


def _end(certificate: Path) -> datetime:
    try:
        with certificate.open("rb") as file:
            pem = file.read(_MAX_BYTES)
    except OSError as err:
        raise InputError(f"cannot serve HTTPS with {certificate}: {err.strerror or err}: {_expected()}") from err
    try:
        return certificate_end(pem)
    except ValueError as err:
        raise InputError(f"cannot serve HTTPS with {certificate}: {_expected()}, found no certificate in it") from err


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    def no_passphrase() -> str:
        raise InputError(
            f"{key} is encrypted, and a device has nobody to ask for its passphrase: "
            "write it without one by `openssl pkey -in OLD -out NEW` into a file that only its owner reads"
        )

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=no_passphrase)
    except ssl.SSLError as err:
        if err.reason == _MISMATCH:
            raise InputError(f"{key} is not the key of the certificate {certificate}: give the two that are") from err
        raise InputError(f"cannot serve HTTPS with {certificate} and {key}: {_expected()}, found another file") from err
    except OSError as err:
        found = err.strerror or err
        raise InputError(f"cannot serve HTTPS with {certificate} and {key}: {found}: {_expected()}") from err
    return context


def _expected() -> str:
    return "expected a certificate and its private key in PEM"
