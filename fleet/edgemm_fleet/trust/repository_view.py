"""The version repository as it is on disk: root, targets, the roles of models, and what they name.

A process that only reads sees what was current when it looked; `is_stale` tells whether another one changed it since.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from edgemm.bundle.manifest import Manifest, decode_manifest
from edgemm.errors import NotFoundError
from edgemm.trust.withdrawn import role_name
from edgemm_fleet.trust import roles
from edgemm_fleet.trust.fleet_folder import FleetFolder
from edgemm_fleet.trust.key_files import KeyFiles
from edgemm_fleet.trust.metadata_files import MetadataFiles
from edgemm_fleet.trust.model_role import withdrawn_of
from edgemm_fleet.trust.roles import DEFAULT_LIFETIMES, Lifetimes


@dataclass(frozen=True)
class RepositoryState:
    """The newest root, and the metadata that `timestamp.json` refers to."""

    root: Metadata[Root]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]


class RepositoryView:
    """Reads the TUF repository of a fleet folder."""

    def __init__(self, folder: FleetFolder, *, lifetimes: Lifetimes = DEFAULT_LIFETIMES) -> None:
        """Read what is current.

        Raises:
            InputError: a metadata file is missing or damaged.
        """
        self.folder, self.lifetimes, self.keys = folder, lifetimes, KeyFiles(folder)
        self._files = MetadataFiles(folder)
        self._expiries: dict[tuple[str, int], float] = {}
        self._state = self._load()

    @property
    def root(self) -> Metadata[Root]:
        """The newest root role."""
        return self._state.root

    @property
    def root_bytes(self) -> bytes:
        """The newest root document, byte for byte as served."""
        return self.root_document(self._state.root.signed.version)

    def root_document(self, version: int) -> bytes:
        """Return a version of the root document, byte for byte as served."""
        return self._files.path("root", version).read_bytes()

    @property
    def targets(self) -> Targets:
        """The top-level targets role: `director.json`, and who may publish which model."""
        return self._state.targets.signed

    @property
    def targets_role(self) -> Metadata[Targets]:
        """The top-level targets role with its signatures."""
        return self._state.targets

    def role(self, model: str) -> Metadata[Targets] | None:
        """Return the delegated role of a model, or None where nothing is published."""
        meta = self._state.snapshot.signed.meta.get(f"{role_name(model)}.json")
        return None if meta is None else self._files.read(role_name(model), meta.version, Targets)

    def expiries(self) -> list[tuple[str, float]]:
        """Return when each role that the manager does not renew by itself expires, in seconds since the Unix epoch."""
        state, found = self._state, dict[tuple[str, int], float]()
        for name, meta in state.snapshot.signed.meta.items():
            key = (name.removesuffix(".json"), meta.version)
            known = self._expiries.get(key)
            found[key] = known or self._files.read(*key, Targets).signed.expires.timestamp()
        self._expiries = found
        return [("root", state.root.signed.expires.timestamp()), *((role, at) for (role, _), at in found.items())]

    def renewed(self) -> list[tuple[str, float, float]]:
        """Return (role, when it expires, for how long it is signed) of those that the manager signs anew by itself."""
        state, lives = self._state, self.lifetimes
        ends = {"snapshot": state.snapshot.signed.expires, "timestamp": state.timestamp.signed.expires}
        lasting = {"snapshot": lives.snapshot, "timestamp": lives.timestamp}
        return [(name, at.timestamp(), lasting[name].total_seconds()) for name, at in ends.items()]

    def unused(self) -> list[str]:
        """Return the models that somebody may publish and nobody did."""
        published = self._state.snapshot.signed.meta
        return [name for name in roles.models(self.targets) if f"{role_name(name)}.json" not in published]

    def published_roles(self) -> Iterator[tuple[str, Metadata[Targets]]]:
        """Yield the models of which something is published, each with its role."""
        for model in roles.models(self.targets):
            if (role := self.role(model)) is not None:
                yield model, role

    def published(self) -> Iterator[TargetFile]:
        """Yield the target of every version of every model."""
        for _, role in self.published_roles():
            yield from role.signed.targets.values()

    def manifest(self, model: str, version: str) -> Manifest:
        """Return the manifest of a published version.

        Raises:
            NotFoundError: it is not published, or was withdrawn.
        """
        role, path = self.role(model), roles.target_path(model, version)
        target = role.signed.targets.get(path) if role else None
        if role is not None and target is None and version in withdrawn_of(role.signed):
            raise NotFoundError(f"{model} {version} was withdrawn: `edgemm fleet models` lists what is offered")
        if target is None:
            raise NotFoundError(f"{model} {version} is not published: `edgemm fleet models` lists what is")
        return decode_manifest(self.manifest_bytes(target), path=path)

    def manifest_bytes(self, target: TargetFile) -> bytes:
        """Return the manifest that a target names.

        Raises:
            OSError: it is not there.
        """
        return self._files.target_bytes(target)

    def written_at(self, path: str) -> float:
        """Return when a target of the top-level role was written last, in seconds since the Unix epoch.

        Raises:
            OSError: it is not there.
        """
        return self._files.target_path(self.targets.targets[path]).stat().st_mtime

    def is_stale(self) -> bool:
        """Tell whether another process changed something, or could not end a change."""
        version = self._state.root.signed.version
        return (
            self._files.timestamp_mark() != self._seen
            or self._files.root_version(known=version) != version
            or self.folder.trust_change.exists()
        )

    def _see(self) -> None:
        self._seen = self._files.timestamp_mark()

    def _load(self) -> RepositoryState:
        self._see()
        root = self._files.read("root", self._files.root_version(), Root)
        timestamp = self._files.read_timestamp()
        snapshot = self._files.read("snapshot", timestamp.signed.snapshot_meta.version, Snapshot)
        targets = self._files.read("targets", snapshot.signed.meta["targets.json"].version, Targets)
        return RepositoryState(root, timestamp, snapshot, targets)
