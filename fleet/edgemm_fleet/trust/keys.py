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
OFFLINE_NOTE = """\
Take this folder offline once your models are authorised: copy it to a medium that you lock away, then delete it here.
Where there are several root keys, give each to another person or place.

root.pem     signs who holds the other keys. The server never reads it. Where there are several (root-1.pem, …), as many
             must sign as `edgemm fleet keys list` shows; one that was lost is then replaced by the others.
targets.pem  signs who may publish which model, the director's key, and the fleet's addresses. While it lies here, the
             server authorises the first publisher of a new model by itself; without it, run where the key is:
             edgemm fleet models authorize NAME --publisher-key PUB --targets-key targets.pem

Whoever has these files can make every device of this fleet run anything. A lost targets.pem is replaced by the root
key: edgemm fleet keys rotate targets. A lost root.pem is not, where there is no other.
"""
MOST_ROOT_KEYS = 9
_SECRET_BYTES = 32


def create_keys(folder: FleetFolder, *, root_keys: int = 1) -> dict[str, CryptoSigner]:
    """Make all keys of a new fleet and return its signers by role name; the second root key is `root-2`."""
    for directory in (folder.root / "keys", folder.root / "offline-keys"):
        directory.mkdir(mode=0o700)
    signers = {role: signing.create_key(folder.online_key(role)) for role in ONLINE}
    for number in range(1, root_keys + 1):
        name = "root" if number == 1 else f"root-{number}"
        signers[name] = signing.create_key(folder.offline_key("root" if root_keys == 1 else f"root-{number}"))
    signers["targets"] = signing.create_key(folder.offline_key("targets"))
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
