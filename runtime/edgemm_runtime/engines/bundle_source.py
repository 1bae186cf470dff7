"""The source of a bundle on this machine: one bundle file, or a manifest beside a folder of blobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgemm import canonical
from edgemm.bundle import BlobSource, open_bundle
from edgemm.bundle.blobs import BlobFolder
from edgemm.bundle.manifest import Manifest, decode_manifest
from edgemm.errors import BundleError, InputError, NotFoundError


class BundleSource(BlobSource, Protocol):
    """A manifest and its blobs, with the bundle's identity."""

    @property
    def digest(self) -> str:
        """The SHA-256 of the manifest's bytes as they came."""


@dataclass(frozen=True)
class BundleFile:
    """A bundle file."""

    path: Path


@dataclass(frozen=True)
class StoredBundle:
    """A `manifest.json` and the folder that holds its blobs by digest."""

    manifest: Path
    blobs: Path


@dataclass(frozen=True)
class FolderSource:
    """A `BundleSource` over a blob folder."""

    manifest: Manifest
    digest: str
    folder: BlobFolder

    def read(self, digest: str) -> bytes:
        """Return a blob, its digest checked.

        Raises:
            BundleError: it is missing, cannot be read, or its bytes changed.
        """
        try:
            return self.folder.read(digest)
        except NotFoundError as err:
            raise BundleError(f"{self.manifest.name} {self.manifest.version}: {err}; fetch it again") from err


@contextmanager
def opened(location: BundleFile | StoredBundle) -> Iterator[BundleSource]:
    """Open a bundle wherever it lies.

    Raises:
        InputError: there is no such file.
        BundleError: it is damaged.
    """
    if isinstance(location, BundleFile):
        with open_bundle(location.path) as bundle:
            yield bundle
        return
    try:
        data = location.manifest.read_bytes()
    except OSError as err:
        raise InputError(f"cannot read manifest {location.manifest}: {err.strerror}") from err
    manifest = decode_manifest(data, path=str(location.manifest))
    yield FolderSource(manifest, canonical.sha256(data), BlobFolder(location.blobs))
