"""A version repository in memory: real TUF metadata, signed with keys made on the spot, by path as it is served."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from edgemm import times
from edgemm.bundle.manifest import Manifest
from edgemm.canonical import sha256
from edgemm.trust.enrolment import DIRECTOR_TARGET, TUF_METADATA_PATH, TUF_TARGETS_PATH
from edgemm.trust.signing import PayloadType, seal
from edgemm.trust.time_statement import TimeQuestion, TimeStatement
from edgemm.trust.withdrawn import role_name, withdrawn_field, withdrawn_versions
from edgemm_fleet.trust import roles
from edgemm_fleet.trust.roles import DEFAULT_LIFETIMES
from edgemm_fleet.trust.rotation import Exchange, next_root, next_targets

_ROLES = ("root", "targets", "snapshot", "timestamp")


class TufInMemory:
    """Publishes manifests; `files` are the documents by URL path."""

    def __init__(self, fleet: str, director: CryptoSigner, *, now: Callable[[], datetime]) -> None:
        self.files: dict[str, bytes] = {}
        self._now = now
        self._keys = {role: CryptoSigner.generate_ed25519() for role in _ROLES}
        self._publisher = CryptoSigner.generate_ed25519()
        root = roles.first_root(self._keys, now=now(), lifetimes=DEFAULT_LIFETIMES)
        self.root = self.newest_root = root.to_bytes()
        self.files[f"{TUF_METADATA_PATH}1.root.json"] = self.root
        document = roles.director_document(fleet, (director.public_key,))
        self._put_target(DIRECTOR_TARGET, document)
        self._targets = roles.first_targets(document, self._keys["targets"], now=now(), lifetimes=DEFAULT_LIFETIMES)
        self._models: dict[str, Metadata[Targets]] = {}
        self._snapshot: Metadata[Snapshot] | None = None
        self._timestamp: Metadata[Timestamp] | None = None
        self._advance({"targets": self._put("targets", self._targets)})

    def publish(self, manifest: Manifest, *, minimum: str = "0.0.0", custom: dict[str, object] | None = None) -> None:
        """Make a manifest a target, with `minimum` as the signed minimum version of all the model's versions.

        `custom` is what else is signed beside them, by a later publisher.
        """
        changed: dict[str, int] = {}
        role = role_name(manifest.name)
        if manifest.name not in self._models:
            self._targets = roles.authorise(
                self._targets,
                manifest.name,
                self._publisher.public_key,
                signer=self._keys["targets"],
                now=self._now(),
                lifetimes=DEFAULT_LIFETIMES,
            )
            changed["targets"] = self._put("targets", self._targets)
            self._models[manifest.name] = Metadata(
                Targets(expires=(self._now() + DEFAULT_LIFETIMES.model).replace(microsecond=0))
            )
        else:
            self._models[manifest.name].signed.version += 1
        model = self._models[manifest.name]
        path, data = roles.target_path(manifest.name, manifest.version), manifest.encode()
        model.signed.targets[path] = TargetFile.from_data(path, data, ["sha256"])
        for target in model.signed.targets.values():
            target.unrecognized_fields["custom"] = {"minimum_version": minimum, **(custom or {})}
        model.sign(self._publisher)
        self._put_target(path, data)
        changed[role] = self._put(role, model)
        self._advance(changed)

    def withdraw(self, model: str, version: str, *, minimum: str = "0.0.0") -> None:
        """Take a version out of a model's role, as an administrator does; `minimum` is what then holds."""
        role = self._models[model]
        role.signed.version += 1
        del role.signed.targets[roles.target_path(model, version)]
        gone = withdrawn_versions(role.signed.unrecognized_fields) | {version}
        role.signed.unrecognized_fields.update(withdrawn_field(gone))
        for target in role.signed.targets.values():
            target.unrecognized_fields["custom"] = {"minimum_version": minimum}
        role.sign(self._publisher)
        self._advance({role_name(model): self._put(role_name(model), role)})

    def replace_document(self, path: str, document: bytes) -> None:
        """Sign another `director.json` or `addresses.json`, as the targets key does."""
        self._put_target(path, document)
        self._targets = next_targets(self._targets, {path: document}, now=self._now(), lifetimes=DEFAULT_LIFETIMES)
        self._targets.sign(self._keys["targets"])
        self._advance({"targets": self._put("targets", self._targets)})

    def replace_root_key(self) -> bytes:
        """Give the root role another key; return the root document that follows."""
        current: Metadata[Root] = Metadata.from_bytes(self.newest_root)
        key = CryptoSigner.generate_ed25519()
        exchange = Exchange((self._keys["root"].public_key.keyid,), (key.public_key,))
        root = next_root(current, {"root": exchange}, now=self._now(), lifetimes=DEFAULT_LIFETIMES)
        root.sign(self._keys["root"])
        root.sign(key, append=True)
        self._keys["root"] = key
        self.newest_root = root.to_bytes()
        self.files[f"{TUF_METADATA_PATH}{root.signed.version}.root.json"] = self.newest_root
        return self.newest_root

    def renew(self, now: datetime) -> None:
        """Sign snapshot and timestamp anew, as a fleet manager does at `now`."""
        self._now = lambda: now
        self._advance({})

    def _advance(self, changed: dict[str, int]) -> None:
        written = {role: self.files[f"{TUF_METADATA_PATH}{version}.{role}.json"] for role, version in changed.items()}
        files = {role: MetaFile(changed[role], hashes={"sha256": sha256(data)}) for role, data in written.items()}
        self._snapshot = roles.next_snapshot(
            self._snapshot, files, signer=self._keys["snapshot"], now=self._now(), lifetimes=DEFAULT_LIFETIMES
        )
        version = self._put("snapshot", self._snapshot)
        self._timestamp = roles.next_timestamp(
            self._timestamp, version, signer=self._keys["timestamp"], now=self._now(), lifetimes=DEFAULT_LIFETIMES
        )
        self.files[f"{TUF_METADATA_PATH}timestamp.json"] = self._timestamp.to_bytes()

    def state_time(self, fleet: str, question: bytes, *, now_s: float) -> bytes:
        """Answer a question for the time, as a fleet manager does."""
        nonce = msgspec.json.decode(question, type=TimeQuestion).nonce
        statement = TimeStatement(fleet=fleet, nonce=nonce, time=times.to_text(now_s))
        return seal(statement, PayloadType.TIME, self._keys["timestamp"])

    def _put(self, role: str, metadata: Metadata[Targets] | Metadata[Snapshot]) -> int:
        version = metadata.signed.version
        self.files[f"{TUF_METADATA_PATH}{version}.{role}.json"] = metadata.to_bytes()
        return version

    def _put_target(self, path: str, data: bytes) -> None:
        folder, slash, name = path.rpartition("/")
        self.files[f"{TUF_TARGETS_PATH}{folder}{slash}{sha256(data)}.{name}"] = data
