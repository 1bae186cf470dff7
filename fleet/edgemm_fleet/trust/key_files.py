"""The private keys in a fleet folder: those in use, those that were replaced a moment ago, and those for later.

keys/ROLE.pem              the key of snapshot, timestamp or director
keys/ROLE.previous.pem     the one before, which signs too for a while, for devices in the middle of a look
keys/next/ROLE-KEYID.pem   made for a change that is still to be signed elsewhere
offline-keys/*.pem         root and targets keys, as long as they are here
offline-keys/*.retired     those that nothing trusts any more
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from edgemm import durable
from edgemm.errors import InputError
from edgemm.trust import signing
from edgemm_fleet.trust.fleet_folder import FleetFolder

OVERLAP_S = 600.0
"""For how long a replaced key signs too: longer than a device's look at the repository may take."""
_MOST_FILES = 100


class KeyFiles:
    """Finds, makes and replaces the private keys of a fleet folder."""

    def __init__(self, folder: FleetFolder) -> None:
        self._folder = folder

    def online(self, role: str) -> CryptoSigner:
        """Return the key of `snapshot`, `timestamp` or `director`.

        Raises:
            InputError: it is missing or damaged.
        """
        again = f"edgemm fleet keys rotate {role} --folder {self._folder.root}"
        return signing.load_key(
            self._folder.online_key(role), next_step=f"restore it from a backup, or make another: {again}"
        )

    def signing_too(self, role: str) -> CryptoSigner | None:
        """Return the key before the one in use, while that still signs; it is deleted after that."""
        path = self._previous(role)
        try:
            if 0 <= time.time() - path.stat().st_mtime < OVERLAP_S:
                return signing.load_key(path)
            path.unlink()
        except (FileNotFoundError, InputError):
            pass
        return None

    def prepare(self, role: str) -> CryptoSigner:
        """Make a role's key for a change that is to come, durably."""
        signer = CryptoSigner.generate_ed25519()
        path = self._prepared / f"{role}-{signer.public_key.keyid}.pem"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        durable.write(path, signer.private_bytes, mode=0o600)
        return signer

    def has(self, role: str, key_id: str) -> bool:
        """Tell whether the private half of an online role's new key is here, in use or prepared."""
        return self._is(self._next(role, key_id), key_id) or self._is(self._folder.online_key(role), key_id)

    def take_up(self, role: str, key_id: str) -> None:
        """Use a prepared key for an online role from now on; again changes nothing.

        Raises:
            InputError: it is not here.
        """
        path = self._folder.online_key(role)
        if self._is(path, key_id):
            return
        # Nothing that a director signed before is to be believed: it alone has no overlap.
        if role != "director" and (data := _readable(path)) is not None:
            durable.write(self._previous(role), data, mode=0o600)
        following = signing.load_key(self._next(role, key_id))
        durable.write(path, following.private_bytes, mode=0o600)

    def forget_prepared(self, keys: Mapping[str, str]) -> None:
        """Delete prepared keys, given as role → key id, that are in use by now, or are not to be used."""
        for role, key_id in keys.items():
            self._next(role, key_id).unlink(missing_ok=True)

    def offline(self, key_ids: Iterable[str]) -> list[CryptoSigner]:
        """Return those of some root or targets keys whose private halves lie in the folder."""
        wanted, found = set(key_ids), dict[str, CryptoSigner]()
        for path in sorted((self._folder.root / "offline-keys").glob("*.pem"))[:_MOST_FILES]:
            try:
                signer = signing.load_key(path)
            except InputError:
                continue  # something else in PEM
            if signer.public_key.keyid in wanted:
                found.setdefault(signer.public_key.keyid, signer)
        return list(found.values())

    def create_offline(self, role: str) -> CryptoSigner:
        """Make a root or targets key in `offline-keys/`.

        Raises:
            InputError: that folder was taken offline; a key for it is not made on a server.
        """
        self.check_offline(role)
        signer = CryptoSigner.generate_ed25519()
        path = self._folder.root / "offline-keys" / f"{role}-{signer.public_key.keyid[:8]}.pem"
        durable.write(path, signer.private_bytes, mode=0o600)
        return signer

    def check_offline(self, role: str) -> None:
        """Refuse to make a root or targets key where none are kept; raises as `create_offline`."""
        folder = self._folder.root / "offline-keys"
        if not any(folder.glob("*.pem")):
            raise InputError(
                f"{folder}: the offline keys are elsewhere, as they should be; make the new one there, and bring its "
                f"public half: edgemm fleet keys create {role}.pem, then --new-key {role}.pub.json here"
            )

    def retire_offline(self, gone: Collection[str]) -> None:
        """Set aside the keys in `offline-keys/` that nothing trusts any more."""
        for path in sorted((self._folder.root / "offline-keys").glob("*.pem"))[:_MOST_FILES]:
            try:
                if signing.load_key(path).public_key.keyid in gone:
                    path.replace(path.with_name(f"{path.name}.retired"))
            except InputError:
                continue

    def _previous(self, role: str) -> Path:
        return self._folder.root / "keys" / f"{role}.previous.pem"

    @property
    def _prepared(self) -> Path:
        return self._folder.root / "keys" / "next"

    def _next(self, role: str, key_id: str) -> Path:
        bare = self._prepared / f"{key_id}.pem"  # as an earlier version named it
        return bare if bare.exists() else self._prepared / f"{role}-{key_id}.pem"

    @staticmethod
    def _is(path: Path, key_id: str) -> bool:
        try:
            return bool(signing.load_key(path).public_key.keyid == key_id)
        except InputError:
            return False


def _readable(path: Path) -> bytes | None:
    try:
        signing.load_key(path)
        return path.read_bytes()
    except (InputError, OSError):  # lost or damaged, which may be why it is replaced
        return None
