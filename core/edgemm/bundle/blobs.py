"""A folder of content-addressed blobs, as a device and the fleet manager keep them.

A blob's name is its SHA-256; it gets that name only when all its bytes are there, are durable and hash to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from edgemm import durable
from edgemm.canonical import is_digest
from edgemm.errors import DigestMismatchError, NotFoundError


class BlobFolder:
    """Blobs by digest under one folder, which is made when it is missing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Return where a blob lies, or would.

        Raises:
            NotFoundError: `digest` is not a digest.
        """
        if not is_digest(digest):
            raise NotFoundError(f"{digest[:80]!r} is not a SHA-256 in lower-case hex digits")
        return self.folder / digest

    def has(self, digest: str) -> bool:
        """Tell whether the blob is here."""
        return self.path(digest).is_file()

    def read(self, digest: str) -> bytes:
        """Return a blob; its digest is checked again, for storage rots.

        Raises:
            NotFoundError: it is not here.
            DigestMismatchError: its bytes changed.
        """
        try:
            data = self.path(digest).read_bytes()
        except OSError as err:
            raise NotFoundError(f"no blob {digest[:12]}… here") from err
        if (actual := hashlib.sha256(data).hexdigest()) != digest:
            raise DigestMismatchError(str(self.path(digest)), expected=digest, actual=actual)
        return data

    def write(self, digest: str, pieces: Iterable[bytes]) -> None:
        """Store a blob; nothing is kept if the bytes do not hash to `digest`.

        Raises:
            DigestMismatchError: they do not.
            EnvironmentFailure: the disk is full.
        """
        path, sha = self.path(digest), hashlib.sha256()
        with durable.replacing(path) as file:
            for piece in pieces:
                sha.update(piece)
                file.write(piece)
            if sha.hexdigest() != digest:
                raise DigestMismatchError(str(path), expected=digest, actual=sha.hexdigest())

    def digests(self) -> Iterator[str]:
        """Yield the digests of all blobs that are here."""
        return (path.name for path in self.folder.iterdir() if is_digest(path.name))

    def remove(self, digest: str) -> None:
        """Delete a blob if it is here."""
        self.path(digest).unlink(missing_ok=True)
