"""The version repository on disk: a TUF repository that is consistent at every moment, also after a SIGKILL.

`timestamp.json` alone says what is current: it names the snapshot, which names the version of every targets role. A
change writes new files under new names first and replaces `timestamp.json` last. A process that is killed in between
leaves the older state and a few files that nobody refers to; the next change writes over them.

    repository = VersionRepository(folder)
    repository.publish(publication, now=datetime.now(UTC))

One process at a time may change a repository (`FolderLock`); threads in it are serialised here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, T, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from edgemm import durable
from edgemm.bundle.manifest import Manifest, decode_manifest
from edgemm.canonical import sha256
from edgemm.errors import BadRequestError, ConflictError, InputError, NotFoundError, PermissionDeniedError
from edgemm.trust import signing
from edgemm.trust.enrolment import DIRECTOR_TARGET
from edgemm_fleet.trust import roles
from edgemm_fleet.trust.fleet_folder import FleetFolder
from edgemm_fleet.trust.publication import Publication, check_extension
from edgemm_fleet.trust.roles import DEFAULT_LIFETIMES, Lifetimes

logger = logging.getLogger(__name__)
_ROOT_VERSION = 1  # root rotation is not part of this format yet; the file keeps its version in its name


@dataclass(frozen=True)
class _State:
    """Metadata that `timestamp.json` refers to."""

    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]


class VersionRepository:
    """Reads and changes the TUF repository of a fleet folder."""

    def __init__(self, folder: FleetFolder, *, lifetimes: Lifetimes = DEFAULT_LIFETIMES) -> None:
        """Read what is current.

        Raises:
            InputError: a metadata file or an online key is missing or damaged.
        """
        self.folder = folder
        self.lifetimes = lifetimes
        self._lock = threading.Lock()
        self._told = set[str]()
        self._snapshot_key = signing.load_key(folder.online_key("snapshot"))
        self._timestamp_key = signing.load_key(folder.online_key("timestamp"))
        self._root = self._read("root", _ROOT_VERSION, Root)
        self._state = self._load()

    @property
    def root_bytes(self) -> bytes:
        """The root document, byte for byte as served; its SHA-256 is in every token."""
        return self._path("root", _ROOT_VERSION).read_bytes()

    def time_signer(self) -> CryptoSigner:
        """Return the key that states the time: that of the timestamp role."""
        return self._timestamp_key

    @property
    def targets(self) -> Targets:
        """The top-level targets role: `director.json`, and who may publish which model."""
        return self._state.targets.signed

    def role(self, model: str) -> Metadata[Targets] | None:
        """Return the delegated role of a model, or None where nothing is published."""
        meta = self._state.snapshot.signed.meta.get(f"{roles.role_name(model)}.json")
        return None if meta is None else self._read(roles.role_name(model), meta.version, Targets)

    def published(self) -> Iterator[TargetFile]:
        """Yield the target of every version of every model."""
        for model in roles.models(self.targets):
            role = self.role(model)
            yield from role.signed.targets.values() if role else ()

    def manifest(self, model: str, version: str) -> Manifest:
        """Return the manifest of a published version.

        Raises:
            NotFoundError: it is not published.
        """
        role, path = self.role(model), roles.target_path(model, version)
        target = role.signed.targets.get(path) if role else None
        if target is None:
            raise NotFoundError(f"{model} {version} is not published: `edgemm fleet models` lists what is")
        return decode_manifest(self.manifest_bytes(target), path=path)

    def manifest_bytes(self, target: TargetFile) -> bytes:
        """Return the manifest that a target names.

        Raises:
            OSError: it is not there.
        """
        return (self.folder.targets / target.get_prefixed_paths()[0]).read_bytes()

    def publish(self, publication: Publication, *, now: datetime) -> bool:
        """Make a checked version a target; False where exactly this was published already.

        Raises:
            PermissionDeniedError: no key that may publish this model signed it.
            ConflictError: it is not the version that follows, or changes what was published.
            BadRequestError: it contradicts itself.
            EnvironmentFailure: the disk is full.
        """
        name = roles.role_name(publication.manifest.name)
        with self._lock:
            current = self.role(publication.manifest.name)
            if current is not None and current == publication.role:
                return False
            check_extension(self.targets, current.signed if current else None, publication, now=now)
            write_target(self.folder, publication.path, publication.manifest_bytes)
            self._write(name, publication.role)
            self._advance({name: publication.role.signed.version}, self._state.targets, now=now)
        logger.info("published model=%s version=%s", publication.manifest.name, publication.manifest.version)
        return True

    def authorise(self, model: str, key: Key, *, now: datetime) -> None:
        """Let `key` publish a model, with the targets key that lies in `offline-keys/`.

        Raises:
            ConflictError: the targets key was taken offline.
        """
        with self._lock:
            if key.keyid in roles.model_keys(self.targets, model):
                return
            signer = self._offline_targets_key(model)
            following = roles.authorise(
                self._state.targets, model, key, signer=signer, now=now, lifetimes=self.lifetimes
            )
            self._replace_targets(following, now=now)
        logger.info("authorised model=%s key=%s", model, key.keyid)

    def accept_targets(self, following: Metadata[Targets], *, now: datetime) -> None:
        """Take over a top-level targets role that was signed elsewhere, with an offline key.

        Raises:
            PermissionDeniedError: the root does not trust its signature.
            ConflictError: it is not the version that follows.
            BadRequestError: it has expired, or names other targets than the current one.
        """
        with self._lock:
            try:
                self._root.signed.verify_delegate("targets", following.signed_bytes, following.signatures)
            except RepositoryError as err:
                raise PermissionDeniedError(f"targets role: not signed by the targets key: {err}") from err
            expected = self.targets.version + 1
            if following.signed.version != expected:
                raise ConflictError(
                    f"targets role: expected version {expected}, found {following.signed.version}; fetch it again"
                )
            if roles.issued_in_future(following.signed, now=now):
                raise BadRequestError(
                    "targets role: it says that it was signed later than now: set the clock where it was signed, or "
                    "here, and sign it again"
                )
            if following.signed.is_expired(now) or following.signed.targets != self.targets.targets:
                raise BadRequestError("targets role: expected one that has not expired, with the same targets")
            self._replace_targets(following, now=now)
        logger.info("accepted targets role version=%d", following.signed.version)

    def refresh(self, *, now: datetime, reissue: bool = False) -> bool:
        """Re-sign snapshot and timestamp where less than half of their life is left; tell whether anything was.

        With `reissue`, so are targets that were signed by a clock ahead of this one, if their key is here: devices'
        times cannot be lowered behind that. This clock has to be one to go by.
        """
        with self._lock:
            if reissue:
                self._reissue(now=now)
            state = self._state
            lives = self.lifetimes
            if roles.is_due(state.snapshot.signed.expires, lifetime=lives.snapshot, now=now):
                self._advance({}, state.targets, now=now)
            elif roles.is_due(state.timestamp.signed.expires, lifetime=lives.timestamp, now=now):
                self._write_timestamp(state.snapshot, state.targets, now=now)
            else:
                return False
        logger.info("refreshed timestamp=%d", self._state.timestamp.signed.version)
        return True

    def resume(self, *, now: datetime) -> None:
        """Re-sign snapshot and timestamp whatever is left of their life: the folder may be a restored backup."""
        with self._lock:
            self._advance({}, self._state.targets, now=now)

    def _reissue(self, *, now: datetime) -> None:
        if roles.issued_in_future(self._root.signed, now=now):
            self._tell_once("root: it was signed by a clock that was ahead; a new root has a time of its own")
        if not roles.issued_in_future(self._state.targets.signed, now=now):
            return
        path = self.folder.offline_key("targets")
        if not path.exists():
            self._tell_once("targets: signed by a clock that was ahead; authorise a publisher again, where its key is")
            return
        signer = signing.load_key(path)
        following = roles.reissued(self._state.targets, signer=signer, now=now, lifetimes=self.lifetimes)
        self._replace_targets(following, now=now)
        logger.warning("targets signed anew, for the clock was ahead version=%d", following.signed.version)

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            logger.error("devices whose clock leaps are not helped back behind the time of signing of %s", text)

    def _offline_targets_key(self, model: str) -> CryptoSigner:
        path = self.folder.offline_key("targets")
        if not path.exists():
            raise ConflictError(
                f"model {model}: the targets key was taken offline, so the server cannot authorise a publisher; where "
                f"the key is, run: edgemm fleet models authorize {model} --publisher-key PUB --targets-key FILE"
            )
        return signing.load_key(path)

    def _replace_targets(self, following: Metadata[Targets], *, now: datetime) -> None:
        self._write("targets", following)
        self._advance({"targets": following.signed.version}, following, now=now)

    def _advance(self, versions: dict[str, int], targets: Metadata[Targets], *, now: datetime) -> None:
        snapshot = roles.next_snapshot(
            self._state.snapshot, versions, signer=self._snapshot_key, now=now, lifetimes=self.lifetimes
        )
        self._write("snapshot", snapshot)
        self._write_timestamp(snapshot, targets, now=now)

    def _write_timestamp(self, snapshot: Metadata[Snapshot], targets: Metadata[Targets], *, now: datetime) -> None:
        timestamp = roles.next_timestamp(
            self._state.timestamp,
            snapshot.signed.version,
            signer=self._timestamp_key,
            now=now,
            lifetimes=self.lifetimes,
        )
        durable.write(self.folder.metadata / "timestamp.json", serialize(timestamp))
        self._state = _State(timestamp, snapshot, targets)

    def _load(self) -> _State:
        timestamp = self._read_file(self.folder.metadata / "timestamp.json", Timestamp)
        snapshot = self._read("snapshot", timestamp.signed.snapshot_meta.version, Snapshot)
        targets = self._read("targets", snapshot.signed.meta["targets.json"].version, Targets)
        return _State(timestamp, snapshot, targets)

    def _path(self, role: str, version: int) -> Path:
        return self.folder.metadata / f"{version}.{role}.json"

    def _read(self, role: str, version: int, kind: type[T]) -> Metadata[T]:
        return self._read_file(self._path(role, version), kind)

    def _read_file(self, path: Path, kind: type[T]) -> Metadata[T]:
        try:
            metadata: Metadata[T] = Metadata.from_bytes(path.read_bytes())
        except (OSError, DeserializationError) as err:
            raise InputError(f"{path}: expected TUF metadata of the fleet's version repository: {err}") from err
        if not isinstance(metadata.signed, kind):
            raise InputError(f"{path}: expected {kind.__name__} metadata, found {metadata.signed.type}")
        return metadata

    def _write(self, role: str, metadata: Metadata[T]) -> None:
        durable.write(self._path(role, metadata.signed.version), serialize(metadata))


def serialize(metadata: Metadata[T]) -> bytes:
    """Return metadata as it is stored and served: JSON without needless bytes."""
    return metadata.to_bytes(JSONSerializer(compact=True))


def write_target(folder: FleetFolder, path: str, data: bytes) -> None:
    """Store a target under its name with the hash in front, as consistent snapshots want it."""
    parent, _, name = path.rpartition("/")
    directory = folder.targets / parent
    directory.mkdir(parents=True, exist_ok=True)
    durable.write(directory / f"{sha256(data)}.{name}", data)


def create_repository(
    folder: FleetFolder,
    signers: Callable[[str], CryptoSigner],
    *,
    fleet: str,
    now: datetime,
    lifetimes: Lifetimes = DEFAULT_LIFETIMES,
) -> None:
    """Write version 1 of all roles and `director.json` into an empty folder; `signers` gives the key of a role."""
    folder.metadata.mkdir(parents=True)
    by_role = {role: signers(role) for role in ("root", "targets", "snapshot", "timestamp", "director")}
    director = roles.director_document(fleet, (by_role["director"].public_key,))
    write_target(folder, DIRECTOR_TARGET, director)
    targets = roles.first_targets(director, by_role["targets"], now=now, lifetimes=lifetimes)
    snapshot = roles.next_snapshot(None, {"targets": 1}, signer=by_role["snapshot"], now=now, lifetimes=lifetimes)
    timestamp = roles.next_timestamp(None, 1, signer=by_role["timestamp"], now=now, lifetimes=lifetimes)
    root = roles.first_root(by_role, now=now, lifetimes=lifetimes)
    durable.write(folder.metadata / "1.root.json", serialize(root))
    durable.write(folder.metadata / "1.targets.json", serialize(targets))
    durable.write(folder.metadata / "1.snapshot.json", serialize(snapshot))
    durable.write(folder.metadata / "timestamp.json", serialize(timestamp))
