"""The files of a version repository: metadata and targets, under the names that TUF clients ask for.

Each version of a role has a file of its own, which never changes; `timestamp.json` alone is replaced. All versions of
the root stay for ever: a device that was away follows them one by one.

Every device reads the targets role and the snapshot whole, and refuses either above a size: one that grew beyond would
end the updates of all models. So neither is signed beyond what devices take. Publishers fill a part of the targets role
with authorisations, and administrators the rest; what was authorised and never published can be withdrawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, T, TargetFile, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from edgemm import durable
from edgemm.canonical import sha256
from edgemm.errors import ConflictError, InputError
from edgemm.trust.enrolment import DIRECTOR_TARGET
from edgemm_fleet.trust import roles
from edgemm_fleet.trust.fleet_folder import FleetFolder
from edgemm_fleet.trust.roles import DEFAULT_LIFETIMES, Lifetimes

COMPACT = JSONSerializer(compact=True)
"""JSON without needless bytes."""


@dataclass(frozen=True)
class MetadataLimits:
    """The sizes of what devices read of all models."""

    targets_bytes: int = 4_000_000
    """Of the top-level targets role; devices take 5,000,000 bytes, python-tuf's own limit."""

    publishers_bytes: int = 1_000_000
    """Of the same role where no administrator asks: some 3,700 models."""

    snapshot_bytes: int = 1_800_000
    """Of the snapshot, which grows with each model that is published; devices take 2,000,000 bytes."""


DEFAULT_LIMITS = MetadataLimits()


class MetadataFiles:
    """Reads and writes the metadata of a fleet folder."""

    def __init__(self, folder: FleetFolder) -> None:
        self._folder = folder
        self.timestamp_path = folder.metadata / "timestamp.json"

    def root_version(self, *, known: int = 1) -> int:
        """Return the version of the newest root, which is at least `known`."""
        return next(n for n in count(known) if not self.path("root", n + 1).exists())

    def path(self, role: str, version: int) -> Path:
        """Return where a version of a role lies."""
        return self._folder.metadata / f"{version}.{role}.json"

    def read(self, role: str, version: int, kind: type[T]) -> Metadata[T]:
        """Read a version of a role.

        Raises:
            InputError: it is missing or damaged.
        """
        return _read(self.path(role, version), kind)

    def read_timestamp(self) -> Metadata[Timestamp]:
        """Read what says which snapshot is current; raises as `read`."""
        return _read(self.timestamp_path, Timestamp)

    def timestamp_mark(self) -> tuple[int, int]:
        """Return what tells whether `timestamp.json` was replaced; raises as `read`."""
        try:
            found = self.timestamp_path.stat()
        except OSError as err:
            raise _unreadable(self.timestamp_path, err) from err
        return found.st_ino, found.st_mtime_ns

    def described(self, role: str, version: int) -> MetaFile:
        """Return what a snapshot says of a version of a role: no length, which devices would take for their limit.

        Raises:
            As `read`.
        """
        path = self.path(role, version)
        try:
            data = path.read_bytes()
        except OSError as err:
            raise _unreadable(path, err) from err
        return MetaFile(version, hashes={"sha256": sha256(data)})

    def write(self, role: str, metadata: Metadata[T]) -> None:
        """Write a version of a role.

        Raises:
            EnvironmentFailure: the disk is full.
        """
        durable.write(self.path(role, metadata.signed.version), serialize(metadata))

    def write_timestamp(self, metadata: Metadata[Timestamp]) -> None:
        """Replace what says which snapshot is current; raises as `write`."""
        durable.write(self.timestamp_path, serialize(metadata))

    def target_bytes(self, target: TargetFile) -> bytes:
        """Return the content of a target.

        Raises:
            OSError: it is not there.
        """
        return self.target_path(target).read_bytes()

    def target_path(self, target: TargetFile) -> Path:
        """Return where the content of a target lies."""
        return self._folder.targets / target.get_prefixed_paths()[0]

    def write_target(self, path: str, data: bytes) -> None:
        """Store a target under its name with the hash in front, as consistent snapshots want it; raises as `write`."""
        parent, _, name = path.rpartition("/")
        directory = self._folder.targets / parent
        directory.mkdir(parents=True, exist_ok=True)
        durable.write(directory / f"{sha256(data)}.{name}", data)


def serialize(metadata: Metadata[T]) -> bytes:
    """Return metadata as it is stored and served."""
    return metadata.to_bytes(COMPACT)


def check_targets_size(size: int, *, by_admin: bool, limits: MetadataLimits = DEFAULT_LIMITS) -> None:
    """Refuse a top-level targets role of this many bytes.

    Raises:
        ConflictError: it is larger than the caller may make it.
    """
    most = limits.targets_bytes if by_admin else limits.publishers_bytes
    if size > most:
        who = "" if by_admin else ", or ask an administrator to authorise this model"
        raise ConflictError(
            f"authorisations of models: {size:,} bytes with this one, the limit is {most:,}, for every device reads "
            f"them all; withdraw those that were never used: edgemm fleet models tidy{who}"
        )


def check_snapshot_size(size: int, *, limits: MetadataLimits = DEFAULT_LIMITS) -> None:
    """Refuse a snapshot of this many bytes.

    Raises:
        ConflictError: it is larger than is left for one more model.
    """
    if size > limits.snapshot_bytes:
        raise ConflictError(
            f"published models: {size:,} bytes of their snapshot, the limit is {limits.snapshot_bytes:,}, for every "
            "device reads it: publish this as a version of a model that is there"
        )


def create_repository(
    folder: FleetFolder,
    signers: Callable[[str], CryptoSigner],
    *,
    fleet: str,
    now: datetime,
    more_roots: tuple[CryptoSigner, ...] = (),
    root_threshold: int = 1,
    lifetimes: Lifetimes = DEFAULT_LIFETIMES,
) -> None:
    """Write version 1 of all roles and `director.json` into an empty folder; `signers` gives the key of a role."""
    folder.metadata.mkdir(parents=True)
    files = MetadataFiles(folder)
    by_role = {role: signers(role) for role in ("root", "targets", "snapshot", "timestamp", "director")}
    director = roles.director_document(fleet, (by_role["director"].public_key,))
    files.write_target(DIRECTOR_TARGET, director)
    targets = roles.first_targets(director, by_role["targets"], now=now, lifetimes=lifetimes)
    files.write("targets", targets)
    first = {"targets": files.described("targets", 1)}
    snapshot = roles.next_snapshot(None, first, signer=by_role["snapshot"], now=now, lifetimes=lifetimes)
    timestamp = roles.next_timestamp(None, 1, signer=by_role["timestamp"], now=now, lifetimes=lifetimes)
    root = roles.first_root(by_role, more_roots=more_roots, threshold=root_threshold, now=now, lifetimes=lifetimes)
    files.write("root", root)
    files.write("snapshot", snapshot)
    files.write_timestamp(timestamp)


def _read(path: Path, kind: type[T]) -> Metadata[T]:
    try:
        metadata: Metadata[T] = Metadata.from_bytes(path.read_bytes())
    except (OSError, DeserializationError) as err:
        raise _unreadable(path, err) from err
    if not isinstance(metadata.signed, kind):
        raise InputError(f"{path}: expected {kind.__name__} metadata, found {metadata.signed.type}")
    return metadata


def _unreadable(path: Path, err: Exception) -> InputError:
    return InputError(f"{path}: expected TUF metadata of the fleet: {err}; put the whole folder back from a backup")
