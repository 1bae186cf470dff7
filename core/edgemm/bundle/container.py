"""The container format of a bundle: a stored ZIP whose bytes, blobs aside, follow from the manifest alone.

Nothing in the file is free: names, order, sizes, time stamps and attributes are computed from the manifest, so a
reader never believes a name or a size that stands in a ZIP header. It computes the expected bytes and compares.

Layout (APPNOTE.TXT 6.3.10, clauses 4.3.7, 4.3.12, 4.3.16): `manifest.json`, then `blobs/<sha256>` in sorted order, each
a local header and its bytes, uncompressed; the central directory; its end record. Date 1980-01-01, mode 0644.
This module does no I/O.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from edgemm.bundle.manifest import Manifest

MANIFEST_NAME = "manifest.json"
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION = 20
_MADE_BY = 3 << 8 | _VERSION
_MODE = 0o100644 << 16
_TIME, _DATE = 0, 1 << 5 | 1
LOCAL_HEADER_BYTES = _LOCAL.size


@dataclass(frozen=True)
class ContainerEntry:
    """One file of the container: `size` bytes of content that begin at `offset`."""

    name: str
    size: int
    offset: int

    @property
    def header_offset(self) -> int:
        """Where its local header begins."""
        return self.offset - LOCAL_HEADER_BYTES - len(self.name)


def blob_name(digest: str) -> str:
    """Return the name of a blob's entry."""
    return f"blobs/{digest}"


def layout(manifest: Manifest, *, manifest_bytes: int) -> tuple[ContainerEntry, ...]:
    """Return the entries that a bundle with this manifest has, in order."""
    sizes = [(MANIFEST_NAME, manifest_bytes)]
    sizes += [(blob_name(digest), manifest.blobs[digest].size) for digest in sorted(manifest.blobs)]
    entries, position = [], 0
    for name, size in sizes:
        position += LOCAL_HEADER_BYTES + len(name)
        entries.append(ContainerEntry(name, size, position))
        position += size
    return tuple(entries)


def total_bytes(entries: Sequence[ContainerEntry]) -> int:
    """Return the length of the whole file."""
    last = entries[-1]
    return last.offset + last.size + sum(_CENTRAL.size + len(e.name) for e in entries) + _END.size


def local_header(name: str, *, size: int, crc: int) -> bytes:
    """Return what stands before an entry's content; `crc` is its CRC-32."""
    fixed = (b"PK\x03\x04", _VERSION, 0, 0, _TIME, _DATE, crc, size, size, len(name), 0)
    return _LOCAL.pack(*fixed) + name.encode("ascii")


def trailer(entries: Sequence[ContainerEntry], crcs: Sequence[int]) -> bytes:
    """Return the central directory and its end record."""
    directory = b"".join(
        _CENTRAL.pack(
            b"PK\x01\x02", _MADE_BY, _VERSION, 0, 0, _TIME, _DATE, crc, entry.size, entry.size,
            len(entry.name), 0, 0, 0, 0, _MODE, entry.header_offset,
        )
        + entry.name.encode("ascii")
        for entry, crc in zip(entries, crcs, strict=True)
    )  # fmt: skip
    start = entries[-1].offset + entries[-1].size
    return directory + _END.pack(b"PK\x05\x06", 0, 0, len(entries), len(entries), len(directory), start, 0)


def manifest_size(header: bytes) -> int | None:
    """Return the size of the manifest that a file's first bytes claim, or None where they begin no bundle."""
    if len(header) < LOCAL_HEADER_BYTES + len(MANIFEST_NAME):
        return None
    fields = _LOCAL.unpack_from(header)
    crc, size = fields[6], fields[8]
    expected = local_header(MANIFEST_NAME, size=size, crc=crc)
    return size if header[: len(expected)] == expected else None
