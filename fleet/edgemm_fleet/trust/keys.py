"""The keys of a fleet: those that the server uses, and those that are to be taken offline."""

from __future__ import annotations

import secrets
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from edgemm import durable
from edgemm.errors import InputError
from edgemm.trust import signing
from edgemm_fleet.trust.fleet_folder import FleetFolder

ONLINE = ("snapshot", "timestamp", "director")
OFFLINE = ("root", "targets")
OFFLINE_NOTE = """\
Take this folder offline once your models are authorised: copy it to a medium that you lock away, then delete it here.

root.pem     signs who holds the other keys. The server never reads it.
targets.pem  signs who may publish which model. While it lies here, the server authorises the first publisher of a new
             model by itself; without it, run where the key is:
             edgemm fleet models authorize NAME --publisher-key PUB --targets-key targets.pem

Whoever has these two files can make every device of this fleet run anything. Nobody can restore them.
"""
_SECRET_BYTES = 32


def create_keys(folder: FleetFolder) -> dict[str, CryptoSigner]:
    """Make all keys of a new fleet and return its signers by role name."""
    for directory in (folder.root / "keys", folder.root / "offline-keys"):
        directory.mkdir(mode=0o700)
    signers = {role: signing.create_key(folder.online_key(role)) for role in ONLINE}
    signers |= {role: signing.create_key(folder.offline_key(role)) for role in OFFLINE}
    durable.write(folder.root / "offline-keys" / "README.txt", OFFLINE_NOTE.encode())
    durable.write(folder.credentials_key, secrets.token_bytes(_SECRET_BYTES), mode=0o600)
    return signers


def read_secret(path: Path) -> bytes:
    """Read the secret from which devices' credentials are derived.

    Raises:
        InputError: it is missing or cut short.
    """
    try:
        secret = path.read_bytes()
    except OSError as err:
        raise InputError(f"{path}: cannot read the secret for devices' credentials: {err.strerror}") from err
    if len(secret) != _SECRET_BYTES:
        raise InputError(f"{path}: expected {_SECRET_BYTES} bytes, found {len(secret)}; restore it from a backup")
    return secret
