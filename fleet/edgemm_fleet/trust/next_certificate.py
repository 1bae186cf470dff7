"""The certificate that a server is about to have: made, announced to devices, and put into use later.

    tls/next.pem, tls/next-key.pem             the new certificate and its key
    tls/previous.pem, tls/previous-key.pem     the one before, for a device that missed the change
    tls/switch                                 the new one is being put into use; whoever finds this mark ends it

Two files cannot be replaced at once. So the mark is written first, then what was used is kept, then the key is
replaced, then the certificate, and the mark goes last: a process that is killed in between leaves what the next one
ends. A manager that runs looks at the certificate alone, which is written when its key is there.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterable
from datetime import datetime
from pathlib import Path

from edgemm import durable
from edgemm.errors import ConflictError
from edgemm_fleet.trust.certificate import create_certificate, fingerprint
from edgemm_fleet.trust.fleet_folder import FleetFolder


def next_certificate(folder: FleetFolder) -> Path:
    """Return where the certificate lies that is to be used next."""
    return _beside(folder, "next.pem")


def previous_certificate(folder: FleetFolder) -> Path:
    """Return where the certificate lies that was used before."""
    return _beside(folder, "previous.pem")


def prepare(folder: FleetFolder, *, names: Iterable[str], now: datetime) -> Path:
    """Make the certificate that is to be used next, unless it is there, and return where it lies."""
    path, key = next_certificate(folder), _next_key(folder)
    finish_switch(folder)
    if not _is_pair(path, key):
        create_certificate(path, key, names=names, now=now)
    return path


def switch(folder: FleetFolder) -> str:
    """Put the prepared certificate into use, and return its fingerprint.

    Raises:
        ConflictError: none is prepared.
    """
    finish_switch(folder)
    if not _is_pair(next_certificate(folder), _next_key(folder)):
        raise ConflictError("no certificate is prepared: edgemm fleet cert renew")
    durable.write(_mark(folder), b"")
    finish_switch(folder)
    return fingerprint(folder.certificate)


def prepare_previous(folder: FleetFolder) -> None:
    """Have the certificate of before the last switch be the one that is used next.

    Raises:
        ConflictError: it is not here any more.
    """
    finish_switch(folder)
    certificate, key = previous_certificate(folder), _beside(folder, "previous-key.pem")
    path = next_certificate(folder)
    if path.exists() and not (certificate.exists() and fingerprint(path) == fingerprint(certificate)):
        raise ConflictError("another certificate is prepared: edgemm fleet cert switch puts that into use")
    if _is_pair(path, _next_key(folder)):
        return  # a switch back that was killed; its key may be here alone
    if not _is_pair(certificate, key):
        raise ConflictError("the certificate of before is not here any more, or its key is not")
    durable.write(_next_key(folder), key.read_bytes(), mode=0o600)
    durable.write(next_certificate(folder), certificate.read_bytes())


def is_previous_among(folder: FleetFolder, pins: Collection[str]) -> bool:
    """Tell whether the certificate of before the last switch is here, and among those of some fingerprints."""
    path = previous_certificate(folder)
    return path.exists() and fingerprint(path) in pins


def forget_previous(folder: FleetFolder) -> None:
    """Delete the certificate of before the last switch, its key first: no key is left that nobody sees."""
    for path in (_beside(folder, "previous-key.pem"), previous_certificate(folder)):
        path.unlink(missing_ok=True)
    durable.sync_folder(folder.certificate.parent)


def finish_switch(folder: FleetFolder) -> None:
    """End a switch that was cut short; each step may be repeated."""
    if not _mark(folder).exists():
        return
    certificate, key = next_certificate(folder), _next_key(folder)
    if certificate.exists() and key.exists():  # else it was at its end
        new = certificate.read_bytes()
        # Else it is half or wholly replaced, and was kept before that.
        if _is_pair(folder.certificate, folder.certificate_key) and folder.certificate.read_bytes() != new:
            durable.write(_beside(folder, "previous-key.pem"), folder.certificate_key.read_bytes(), mode=0o600)
            durable.write(previous_certificate(folder), folder.certificate.read_bytes())
        durable.write(folder.certificate_key, key.read_bytes(), mode=0o600)
        durable.write(folder.certificate, new)
        certificate.unlink()
    key.unlink(missing_ok=True)
    _mark(folder).unlink()
    durable.sync_folder(folder.certificate.parent)


def _is_pair(certificate: Path, key: Path) -> bool:
    """Tell whether both are there and belong together: of two writes, one may have been made."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except OSError:  # as is what OpenSSL finds
        return False
    return True


def _next_key(folder: FleetFolder) -> Path:
    return _beside(folder, "next-key.pem")


def _mark(folder: FleetFolder) -> Path:
    return _beside(folder, "switch")


def _beside(folder: FleetFolder, name: str) -> Path:
    return folder.certificate.with_name(name)
