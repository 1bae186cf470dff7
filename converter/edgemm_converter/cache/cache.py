"""The cache of finished conversions: a conversion that was made before takes less than a second.

    cache = Cache.of_environment()
    entry = cache.get(key)  # None if there is no entry, or only a damaged one, which is removed

An entry is one file, named by the fingerprint of its conversion. It begins with the SHA-256 of the rest of the file,
and nothing of an entry is used before that digest is checked. Entries appear at once and whole, so that processes may
share a folder. When the folder is larger than allowed, the least recently used entries are removed. A failure of the
cache never fails a conversion.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgemm import canonical
from edgemm.bundle import container
from edgemm.bundle.manifest import Manifest, decode_manifest
from edgemm.errors import EdgemmError
from edgemm_converter.children.protocol import TrialFacts

FOLDER_VARIABLE = "EDGEMM_CACHE"
"""The environment variable that names the folder; empty for no cache."""

_SUFFIX, _PART = ".conversion", ".part-"
_ABANDONED_S = 3600.0
_DIGEST_BYTES = 64
_LOG = logging.getLogger(__name__)


class ConversionOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a conversion told beside the bundle."""

    digest: str
    left_out: dict[str, str] = {}
    warnings: tuple[str, ...] = ()
    trials: tuple[TrialFacts, ...] = ()
    from_file: tuple[str, ...] = ()
    monitored: tuple[str, ...] = ()


@dataclass(frozen=True)
class CachedConversion:
    """A finished conversion: the bundle file, its manifest, and the page about it with its data, if one is wanted."""

    outcome: ConversionOutcome
    manifest: Manifest
    bundle: bytes | memoryview
    report: bytes | memoryview | None
    report_data: bytes | memoryview | None
    repeatable: bool = True
    """Whether the next conversion of the same need not try again."""


class _Header(msgspec.Struct, frozen=True):
    outcome: ConversionOutcome
    bundle_bytes: int
    report_bytes: int | None
    report_data_bytes: int | None


@dataclass(frozen=True)
class Cache:
    """A folder of entries that together take at most `max_bytes`."""

    folder: Path
    max_bytes: int = 4 * 2**30

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> Cache | None:
        """Return the cache that the environment names: `EDGEMM_CACHE`, else as the XDG base directories say."""
        if (named := environment.get(FOLDER_VARIABLE)) is not None:
            return cls(Path(named)) if named else None
        root = Path(environment.get("XDG_CACHE_HOME", ""))
        if not root.is_absolute():  # unset, or to be ignored by the XDG specification
            try:
                root = Path.home() / ".cache"
            except RuntimeError:
                return None
        return cls(root / "edgemm")

    def get(self, key: str) -> CachedConversion | None:
        """Return an entry whose digest agrees."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        entry = _decode(data)
        with contextlib.suppress(OSError):
            if entry is None:
                _LOG.warning("cache entry damaged, removed path=%s", path)
                path.unlink()
            else:
                os.utime(path)
        return entry

    def put(self, key: str, entry: CachedConversion) -> None:
        """Keep an entry, and let go of those used longest ago."""
        parts = _encode(entry)
        if sum(map(len, parts)) > self.max_bytes:
            return
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(self._path(key), parts)
            self._shrink()
        except OSError as err:
            _LOG.warning("conversion not cached folder=%s reason=%s", self.folder, err.strerror or err)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def _shrink(self) -> None:
        for part in self.folder.glob(f"{_PART}*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > _ABANDONED_S:
                    part.unlink()
        kept = 0
        for path, size in self._newest_first():
            kept += size
            if kept > self.max_bytes:
                path.unlink(missing_ok=True)

    def _newest_first(self) -> list[tuple[Path, int]]:
        found = []
        for path in self.folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                facts = path.stat()
                found.append((facts.st_mtime_ns, path, facts.st_size))
        return [(path, size) for _, path, size in sorted(found, reverse=True)]


def _write(path: Path, parts: list[bytes | memoryview]) -> None:
    """Write a file that is there at once; what a loss of power leaves of it, its digest tells."""
    descriptor, name = tempfile.mkstemp(prefix=_PART, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(parts)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _encode(entry: CachedConversion) -> list[bytes | memoryview]:
    pages = (entry.report, entry.report_data)
    sizes = [None if page is None else len(page) for page in pages]
    header = msgspec.json.encode(_Header(entry.outcome, len(entry.bundle), *sizes)) + b"\n"
    parts: list[bytes | memoryview] = [header, entry.bundle, *(page or b"" for page in pages)]
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part)
    return [sha.hexdigest().encode(), *parts]


def _decode(data: bytes) -> CachedConversion | None:
    rest = memoryview(data)[_DIGEST_BYTES:]
    if hashlib.sha256(rest).hexdigest().encode() != data[:_DIGEST_BYTES]:
        return None
    try:
        start = data.index(b"\n", _DIGEST_BYTES) + 1
        header = msgspec.json.decode(data[_DIGEST_BYTES:start], type=_Header)
        end = start + header.bundle_bytes
        bundle = rest[start - _DIGEST_BYTES : end - _DIGEST_BYTES]  # a view: weights are large
        manifest_bytes = _manifest_of(bundle)
        if canonical.sha256(manifest_bytes) != header.outcome.digest:
            return None
        manifest = decode_manifest(manifest_bytes, path="the cache")
    except (ValueError, msgspec.DecodeError, EdgemmError):  # written by another version
        return None
    pages = rest[end - _DIGEST_BYTES :]
    report = None if header.report_bytes is None else pages[: header.report_bytes]
    report_data = None if header.report_data_bytes is None else pages[header.report_bytes or 0 :]
    return CachedConversion(header.outcome, manifest, bundle, report, report_data)


def _manifest_of(bundle: memoryview) -> bytes:
    start = container.LOCAL_HEADER_BYTES + len(container.MANIFEST_NAME)
    return bytes(bundle[start : start + (container.manifest_size(bytes(bundle[:start])) or 0)])
