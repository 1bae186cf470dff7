"""The download of blobs over HTTP, resumed where it stopped.

The bytes that have arrived lie in `partial/<sha256>`, and are made durable every so many bytes; the length of that file
tells how far the download came. A blob gets its name only when all its bytes are there and hash to it. The download
begins anew when the server ignores `Range`, and when the bytes are wrong. More bytes than the manifest says are never
kept.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from edgemm import durable
from edgemm.bundle.blobs import BlobFolder
from edgemm.errors import DigestMismatchError, EnvironmentFailure, UnreachableError
from edgemm.transport.https import HttpAnswer
from edgemm.trust.enrolment import BLOB_PATH
from edgemm_runtime.agent.connection.fleet_connection import FleetConnection

_log = logging.getLogger(__name__)
_HASH_CHUNK = 1024 * 1024


class BlobDownloader:
    """Fetches blobs into a `BlobFolder` by way of a folder of partial files."""

    def __init__(self, server: FleetConnection, blobs: BlobFolder, partial: Path, *, sync_bytes: int) -> None:
        self._server, self._blobs, self._partial, self._sync_bytes = server, blobs, partial, sync_bytes

    def missing_bytes(self, digest: str, size: int) -> int:
        """Return how many bytes of a blob are still to be fetched."""
        return 0 if self._blobs.has(digest) else size - min(size, _length(self._partial / digest))

    def fetch(self, digest: str, size: int, *, check: Callable[[], None]) -> None:
        """Have a blob here, fetching what is missing of it; `check` is called now and then and may raise.

        Raises:
            UnreachableError: the transfer broke off; what came stays for the next try.
            DigestMismatchError: all bytes came and are the wrong ones; the next try begins anew.
            EnvironmentFailure: the disk is full, or the server refuses.
        """
        if self._blobs.has(digest) and self._intact(digest):
            return
        path = self._partial / digest
        try:
            self._receive(path, digest, size, check=check)
            self._name(path, digest, size)
        except OSError as err:
            raise disk_failure(path, err) from err

    def _receive(self, path: Path, digest: str, size: int, *, check: Callable[[], None]) -> None:
        offset = _length(path)
        if offset >= size:
            return
        headers = {"Range": f"bytes={offset}-", "If-Range": f'"{digest}"'} if offset else {}
        with self._server.open("GET", f"{BLOB_PATH}{digest}", headers=headers, blob=True) as answer:
            start = _start(answer, asked=offset)
            _log.info("downloading blob=%.12s from=%d size=%d", digest, start, size)
            with path.open("r+b" if path.exists() else "w+b") as file:
                file.truncate(start)
                file.seek(start)
                self._append(file, answer.pieces(), room=size - start, check=check)
        if _length(path) < size:
            raise UnreachableError(f"blob {digest[:12]}…: cut off after {_length(path):,} of {size:,} bytes")

    def _append(self, file: BinaryIO, pieces: Iterator[bytes], *, room: int, check: Callable[[], None]) -> None:
        unsynced = 0
        try:
            for piece in pieces:
                kept = piece[:room]
                file.write(kept)
                file.flush()
                room -= len(kept)
                unsynced += len(kept)
                if unsynced >= self._sync_bytes:
                    _sync(file)
                    unsynced = 0
                check()
                if len(kept) < len(piece):
                    break
        finally:
            _sync(file)

    def _name(self, path: Path, digest: str, size: int) -> None:
        """Give a complete blob its name, if it has earned it."""
        actual = _hash(path)
        if _length(path) != size or actual != digest:
            path.unlink(missing_ok=True)
            raise DigestMismatchError(f"download of blob {digest[:12]}…", expected=digest, actual=actual)
        path.replace(self._blobs.path(digest))
        durable.sync_folder(self._blobs.folder)

    def _intact(self, digest: str) -> bool:
        """Tell whether a blob that is here still hashes to its name; storage rots, and rotten ones are removed."""
        if _hash(self._blobs.path(digest)) == digest:
            return True
        _log.warning("blob damaged on disk, fetched again blob=%.12s", digest)
        self._blobs.remove(digest)
        return False


def disk_failure(path: Path, err: OSError) -> EnvironmentFailure:
    """Say what kept a file from being written."""
    return EnvironmentFailure(f"cannot write {path}: {err.strerror or err}")


def _start(answer: HttpAnswer, *, asked: int) -> int:
    """Return the offset at which the answer's bytes begin."""
    if answer.status != 206:
        return 0
    unit, _, rest = answer.headers.get("Content-Range", "").partition(" ")
    first = rest.partition("-")[0]
    if unit != "bytes" or first != str(asked):
        raise UnreachableError(f"blob: asked for bytes from {asked}, the server sent {rest[:60]!r}")
    return asked


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _hash(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_HASH_CHUNK):
            sha.update(piece)
    return sha.hexdigest()


def _sync(file: BinaryIO) -> None:
    os.fdatasync(file.fileno())
