"""Bundle files: packs them, opens untrusted ones with full verification, and reads blobs out of them.

    with open_bundle(Path("digits-1.0.0.edgemm")) as bundle:
        model = bundle.read(bundle.manifest.variants[0].blob)

Opening checks sizes against limits before anything is read, every digest, and that the container is byte for byte
the one that follows from the manifest. A bundle file is verified, not signed: signatures come with publishing.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol, Self

from edgemm import canonical, durable
from edgemm.bundle import container
from edgemm.bundle.bundle_limits import DEFAULT_LIMITS, BundleLimits
from edgemm.bundle.container import ContainerEntry
from edgemm.bundle.manifest import Manifest, decode_manifest
from edgemm.errors import (
    BundleError,
    BundleLimitError,
    DamagedBundleError,
    DigestMismatchError,
    InputError,
)

_CHUNK = 1 << 20


class BlobSource(Protocol):
    """A manifest and its blobs, wherever they lie: a bundle file, or a device's blob folder."""

    @property
    def manifest(self) -> Manifest:
        """The manifest whose blobs these are."""

    def read(self, digest: str) -> bytes:
        """Return a blob whose SHA-256 is `digest`; never other bytes."""


class Bundle:
    """An opened and fully verified bundle file; a context manager that closes it.

    `digest` is the bundle's identity: the SHA-256 of `manifest_bytes`, as they stand in the file.
    """

    def __init__(
        self, path: Path, *, file: BinaryIO, manifest_bytes: bytes, entries: tuple[ContainerEntry, ...]
    ) -> None:
        self.path = path
        self.manifest_bytes = manifest_bytes
        self.digest = canonical.sha256(manifest_bytes)
        self._file = file
        self._manifest = decode_manifest(manifest_bytes, path=str(path))
        self._entries = {entry.name: entry for entry in entries}

    @property
    def manifest(self) -> Manifest:
        """What the bundle is."""
        return self._manifest

    def read(self, digest: str) -> bytes:
        """Return one blob.

        Raises:
            InputError: the bundle has no such blob.
            DigestMismatchError: the file changed since it was opened.
        """
        data = b"".join(self.chunks(digest))
        if (actual := hashlib.sha256(data).hexdigest()) != digest:
            raise DigestMismatchError(str(self.path), expected=digest, actual=actual)
        return data

    def chunks(self, digest: str) -> Iterator[bytes]:
        """Yield one blob in pieces of at most 1 MiB, as it lies in the file now.

        Raises:
            InputError: the bundle has no such blob.
        """
        entry = self._entries.get(container.blob_name(digest))
        if entry is None:
            raise InputError(f"{self.path}: no blob {digest[:12]}… in this bundle")
        yield from _pieces(self._file, entry)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open_bundle(path: Path, *, limits: BundleLimits = DEFAULT_LIMITS) -> Bundle:
    """Open a bundle file and verify all of it.

    Raises:
        InputError: there is no such file.
        BundleError: damaged, over a limit, of a newer format, or not a bundle.
    """
    try:
        file = path.open("rb")
        found = os.fstat(file.fileno()).st_size
    except OSError as err:
        raise InputError(f"cannot open bundle {path}: {err.strerror}") from err
    try:
        encoded, entries = _verify(file, str(path), found=found, limits=limits)
    except OSError as err:
        file.close()
        raise InputError(f"cannot read bundle {path}: {err.strerror}") from err
    except BaseException:
        file.close()
        raise
    return Bundle(path, file=file, manifest_bytes=encoded, entries=entries)


def write_bundle(path: Path, manifest: Manifest, blobs: Mapping[str, bytes | Path]) -> str:
    """Pack a bundle and return its digest; `path` is replaced only when all of it is written.

    Raises:
        BundleError: a blob is missing, or is not what the manifest says.
        EnvironmentFailure: the disk is full or the folder not writable.
    """
    encoded = manifest.encode()
    entries = container.layout(manifest, manifest_bytes=len(encoded))
    if missing := set(manifest.blobs) - set(blobs):
        raise BundleError(f"{path}: blob {min(missing)[:12]}… of the manifest was not given")
    if (total := container.total_bytes(entries)) > DEFAULT_LIMITS.max_bundle_bytes:
        raise BundleLimitError(str(path), what="size in bytes", limit=DEFAULT_LIMITS.max_bundle_bytes, found=total)
    with durable.replacing(path) as file:
        crcs = [_write_entry(file, entries[0], encoded)]
        for entry, digest in zip(entries[1:], sorted(manifest.blobs), strict=True):
            content = blobs[digest]
            data = content if isinstance(content, bytes) else content.read_bytes()
            if (actual := hashlib.sha256(data).hexdigest()) != digest:
                raise DigestMismatchError(f"{path}: blob", expected=digest, actual=actual)
            if len(data) != entry.size:
                raise BundleError(f"{path}: blob {digest[:12]}… has {len(data)} bytes, the manifest says {entry.size}")
            crcs.append(_write_entry(file, entry, data))
        file.write(container.trailer(entries, crcs))
    return canonical.sha256(encoded)


def _write_entry(file: BinaryIO, entry: ContainerEntry, data: bytes) -> int:
    crc = zlib.crc32(data)
    file.write(container.local_header(entry.name, size=entry.size, crc=crc))
    file.write(data)
    return crc


def _verify(file: BinaryIO, path: str, *, found: int, limits: BundleLimits) -> tuple[bytes, tuple[ContainerEntry, ...]]:
    if found == 0:
        raise DamagedBundleError(path, expected="a bundle", found="an empty file")
    if found > limits.max_bundle_bytes:
        raise BundleLimitError(path, what="size in bytes", limit=limits.max_bundle_bytes, found=found)
    header = file.read(container.LOCAL_HEADER_BYTES + len(container.MANIFEST_NAME))
    size = container.manifest_size(header)
    if size is None:
        raise DamagedBundleError(path, expected="a bundle, which begins with manifest.json", found="something else")
    if size > limits.max_manifest_bytes:
        raise BundleLimitError(path, what="manifest size in bytes", limit=limits.max_manifest_bytes, found=size)
    encoded = file.read(size)
    manifest = decode_manifest(encoded, path=path)
    entries = container.layout(manifest, manifest_bytes=len(encoded))
    if (expected := container.total_bytes(entries)) != found:
        raise DamagedBundleError(path, expected=f"{expected:,} bytes", found=f"{found:,}")
    digests = ["", *sorted(manifest.blobs)]
    crcs = [_check_entry(file, entry, path, digest=digest) for entry, digest in zip(entries, digests, strict=True)]
    file.seek(entries[-1].offset + entries[-1].size)
    if file.read() != container.trailer(entries, crcs):
        raise DamagedBundleError(path, expected="the directory that follows from the manifest", found="another")
    return encoded, entries


def _check_entry(file: BinaryIO, entry: ContainerEntry, path: str, *, digest: str) -> int:
    """Compare one entry with its header and, for a blob, its digest; return its CRC-32."""
    crc, sha = 0, hashlib.sha256()
    for piece in _pieces(file, entry):
        crc = zlib.crc32(piece, crc)
        sha.update(piece)
    if digest and sha.hexdigest() != digest:
        raise DigestMismatchError(path, expected=digest, actual=sha.hexdigest())
    file.seek(entry.header_offset)
    header = container.local_header(entry.name, size=entry.size, crc=crc)
    if file.read(len(header)) != header:
        raise DamagedBundleError(
            path, expected=f"the header of {entry.name[:20]} that follows from it", found="another"
        )
    return crc


def _pieces(file: BinaryIO, entry: ContainerEntry) -> Iterator[bytes]:
    position, end = entry.offset, entry.offset + entry.size
    while position < end:
        file.seek(position)
        piece = file.read(min(_CHUNK, end - position))
        if not piece:
            break
        position += len(piece)
        yield piece
