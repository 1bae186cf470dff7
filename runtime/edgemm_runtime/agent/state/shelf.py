"""The shelf: manifests and blobs of the versions on a device, and the removal of those that no model needs."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from edgemm import durable
from edgemm.bundle.blobs import BlobFolder
from edgemm.bundle.manifest import Manifest, decode_manifest
from edgemm.canonical import is_digest, sha256
from edgemm.errors import BundleError, DigestMismatchError
from edgemm_runtime.agent.state.documents import Installed
from edgemm_runtime.agent.state.state_folder import StateFolder
from edgemm_runtime.engines.bundle_source import FolderSource, StoredBundle

_log = logging.getLogger(__name__)


class Shelf:
    """What is installed on this device, by digest."""

    def __init__(self, folder: StateFolder) -> None:
        self._manifests = folder.path("manifests")
        self.partial = folder.path("partial")
        self.blobs = BlobFolder(folder.path("blobs"))

    def location(self, digest: str) -> StoredBundle:
        """Return where a bundle's manifest and blobs lie."""
        return StoredBundle(self._manifest_path(digest), self.blobs.folder)

    def put_manifest(self, data: bytes) -> None:
        """Keep a manifest under its digest; one that is here, and sound, takes no room again.

        Raises:
            EnvironmentFailure: the disk is full.
        """
        path = self._manifest_path(sha256(data))
        if not path.exists() or path.read_bytes() != data:
            durable.write(path, data)

    def manifest(self, digest: str) -> Manifest:
        """Return a manifest, its digest checked again.

        Raises:
            BundleError: it is not here, or rotted.
        """
        path = self._manifest_path(digest)
        try:
            data = path.read_bytes()
        except OSError as err:
            raise BundleError(f"{path}: the manifest of an installed version is missing: {err.strerror}") from err
        if (found := sha256(data)) != digest:
            raise DigestMismatchError(str(path), expected=digest, actual=found)
        return decode_manifest(data, path=str(path))

    def source(self, digest: str) -> FolderSource:
        """Return an installed bundle to read from; raises as `manifest`."""
        return FolderSource(self.manifest(digest), digest, self.blobs)

    def prune(self, kept: Iterable[Installed], *, in_flight: Iterable[str] = (), spared: Iterable[str] = ()) -> int:
        """Remove every manifest, blob and partial file that is not needed; returns the bytes freed.

        Needed is what `kept` names, and the manifests `in_flight`. Nothing is removed while one of the manifests
        that are needed cannot be read. What `spared` bundles are made of stays where it is, as far as it is here.
        """
        manifests, needed = {f"{digest}.json" for digest in in_flight}, set()
        for installed in kept:
            manifests.add(f"{installed.digest}.json")
            try:
                needed |= set(self.manifest(installed.digest).blobs_for(installed.variant))
            except BundleError as err:
                _log.warning("nothing pruned digest=%.12s error=%s", installed.digest, err)
                return 0
        for digest in spared:
            manifests.add(f"{digest}.json")
            with suppress(BundleError):
                needed |= set(self.manifest(digest).blobs)
        return sum(
            _remove(path)
            for folder, wanted in ((self._manifests, manifests), (self.blobs.folder, needed), (self.partial, needed))
            for path in folder.iterdir()
            if path.name not in wanted and is_digest(path.name.removesuffix(".json"))
        )

    def _manifest_path(self, digest: str) -> Path:
        assert is_digest(digest)
        return self._manifests / f"{digest}.json"


def _remove(path: Path) -> int:
    size = path.stat().st_size
    path.unlink(missing_ok=True)
    _log.info("pruned file=%.12s bytes=%d", path.name, size)
    return size
