"""The publication of a version as a TUF target: the role that a publisher signs, and the server's checks. Pure.

The publisher extends the role that it already signed (`extend`). The server compares the extension with the role that
it has (`check_extension`): one version up, nothing that was published changed, at most one target more, and that target
is the manifest that came with it. Every target of a role carries the same signed minimum version, so that a device sees
it with any of them. The minimum version never goes down.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, TargetFile, Targets
from tuf.api.serialization import DeserializationError

from edgemm.bundle.manifest import Manifest, decode_manifest
from edgemm.canonical import sha256
from edgemm.errors import BadRequestError, ConflictError, InputError, PermissionDeniedError
from edgemm.versions import Version
from edgemm_fleet.trust.roles import Lifetimes, role_name, target_path

MINIMUM_VERSION = "minimum_version"
NO_MINIMUM = "0.0.0"
MAX_ROLE_BYTES = 4_000_000
"""Under python-tuf's own limit of 5,000,000 bytes, so that every client reads what is accepted here."""


@dataclass(frozen=True)
class Publication:
    """A checked extension of a model's role by one version."""

    manifest: Manifest
    manifest_bytes: bytes
    role: Metadata[Targets]

    @property
    def path(self) -> str:
        """The target's path."""
        return target_path(self.manifest.name, self.manifest.version)


def minimum_version(role: Targets | None) -> str:
    """Return the minimum version that a role's targets carry."""
    for target in role.targets.values() if role else ():
        return _minimum_of(target)
    return NO_MINIMUM


def published_digest(role: Targets | None, path: str) -> str | None:
    """Return the digest under which a target path was published, or None."""
    target = role.targets.get(path) if role else None
    return target.hashes.get("sha256") if target else None


def extend(
    current: Targets | None,
    manifest_bytes: bytes,
    *,
    minimum: str | None,
    signer: CryptoSigner,
    now: datetime,
    lifetimes: Lifetimes,
) -> Metadata[Targets]:
    """Return the next version of a model's role with a manifest in it, signed by its publisher.

    `minimum` None keeps the minimum version that is there.

    Raises:
        InputError: `minimum` is no version, lower than the one that was signed before, or above this version.
        ConflictError: the version was published with another content.
    """
    manifest = decode_manifest(manifest_bytes, path="manifest.json")
    _check_minimum_is_text(current)
    lowest = minimum or minimum_version(current)
    _check_minimum(lowest, current, published=manifest.version)
    path = target_path(manifest.name, manifest.version)
    if published_digest(current, path) not in {None, sha256(manifest_bytes)}:
        raise ConflictError(
            f"{manifest.name} {manifest.version} is published with another content; give the new one another version"
        )
    target = TargetFile.from_data(path, manifest_bytes, ["sha256"])
    targets = {name: _with_minimum(old, lowest) for name, old in (current.targets if current else {}).items()}
    targets[path] = _with_minimum(target, lowest)
    version = current.version + 1 if current else 1
    expires = (now + lifetimes.model).replace(microsecond=0)
    metadata = Metadata(Targets(version=version, expires=expires, targets=targets))
    metadata.sign(signer)
    return metadata


def renewed_role(current: Targets, signer: CryptoSigner, *, now: datetime, lifetimes: Lifetimes) -> Metadata[Targets]:
    """Return the next version of a model's role with the same targets, signed by a publisher."""
    expires = (now + lifetimes.model).replace(microsecond=0)
    metadata = Metadata(Targets(version=current.version + 1, expires=expires, targets=dict(current.targets)))
    metadata.sign(signer)
    return metadata


def read_role(data: bytes) -> Metadata[Targets]:
    """Read a targets role that somebody sent.

    Raises:
        BadRequestError: it is none.
    """
    if len(data) > MAX_ROLE_BYTES:
        raise BadRequestError(f"role metadata: {len(data):,} bytes, the limit is {MAX_ROLE_BYTES:,}")
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
    except (DeserializationError, RecursionError) as err:
        raise BadRequestError(f"role metadata: expected TUF targets metadata: {err}") from err
    if not isinstance(metadata.signed, Targets):
        raise BadRequestError(f"role metadata: expected targets, found {metadata.signed.type}")
    return metadata


def check_extension(top: Targets, current: Targets | None, publication: Publication, *, now: datetime) -> None:
    """Check a publication against the top-level targets role and the model's role as it is.

    Raises:
        PermissionDeniedError: no key that may publish this model signed it.
        ConflictError: it is not the version that follows, or changes what was published.
        BadRequestError: it contradicts itself or the manifest.
    """
    role, manifest = publication.role, publication.manifest
    check_signature(top, manifest.name, role)
    expected = current.version + 1 if current else 1
    if role.signed.version != expected:
        raise ConflictError(
            f"role {role_name(manifest.name)}: expected version {expected}, found {role.signed.version}; "
            "somebody published in between: publish again"
        )
    if role.signed.is_expired(now):
        raise BadRequestError(f"role {role_name(manifest.name)}: it expired at {role.signed.expires.isoformat()}")
    if role.signed.delegations is not None:
        raise BadRequestError(f"role {role_name(manifest.name)}: expected no delegations in it")
    _check_minimum_is_text(role.signed)
    _check_unchanged(current, role.signed, publication.path)
    _check_target(role.signed, publication)
    for target in role.signed.targets.values():
        if _minimum_of(target) != minimum_version(role.signed):
            raise BadRequestError(f"{target.path}: expected the same minimum_version on every target of the role")
    try:
        _check_minimum(minimum_version(role.signed), current, published=manifest.version)
    except InputError as err:
        raise BadRequestError(str(err)) from err


def check_renewal(
    top: Targets, model: str, current: Targets | None, following: Metadata[Targets], *, now: datetime
) -> None:
    """Check a model's role that was signed anew: the version that follows, with the same targets.

    Raises:
        PermissionDeniedError: no key that may publish this model signed it.
        ConflictError: it is not the version that follows.
        BadRequestError: it has expired, or names other targets than the current one.
    """
    name = role_name(model)
    check_signature(top, model, following)
    if current is None or following.signed.version != current.version + 1:
        expected = f"version {current.version + 1}" if current else "none, for nothing is published"
        raise ConflictError(f"role {name}: expected {expected}, found {following.signed.version}; fetch it again")
    if following.signed.is_expired(now) or following.signed.targets != current.targets:
        raise BadRequestError(f"role {name}: expected one that has not expired, with the same targets")
    if following.signed.delegations is not None:
        raise BadRequestError(f"role {name}: expected no delegations in it")


def check_published(top: Targets, published: Iterable[tuple[str, Metadata[Targets]]]) -> None:
    """Check that all that is published, as (model, role), has a good signature by a coming targets role.

    Raises:
        ConflictError: a model has none.
    """
    for model, role in published:
        try:
            good = bool(top.get_verification_result(role_name(model), role.signed_bytes, role.signatures))
        except ValueError:
            good = False
        if not good:
            raise ConflictError(
                f"model {model}: its versions are signed by none of the keys that would be left, and no device would "
                f"believe them; first a publisher with one of these keys signs them: edgemm fleet models renew {model}"
            )


def check_signature(top: Targets, model: str, role: Metadata[Targets]) -> None:
    """Check that a key that may publish `model` signed its role.

    Raises:
        PermissionDeniedError: none did.
    """
    try:
        top.verify_delegate(role_name(model), role.signed_bytes, role.signatures)
    except (RepositoryError, ValueError) as err:
        raise PermissionDeniedError(
            f"model {model}: not signed by a key that may publish it; ask an administrator to run: "
            f"edgemm fleet models authorize {model} --publisher-key PUB"
        ) from err


def _check_unchanged(current: Targets | None, following: Targets, path: str) -> None:
    before = current.targets if current else {}
    for name, target in before.items():
        found = following.targets.get(name)
        if found is None or found.hashes != target.hashes or found.length != target.length:
            raise ConflictError(f"{name}: it is published and cannot change; give the new content another version")
    if extra := set(following.targets) - set(before) - {path}:
        raise BadRequestError(f"role metadata: expected {path} alone to be new, found {min(extra)[:200]!r} too")


def _check_target(role: Targets, publication: Publication) -> None:
    target = role.targets.get(publication.path)
    if target is None:
        raise BadRequestError(f"role metadata: expected the target {publication.path}, found none")
    found = TargetFile.from_data(publication.path, publication.manifest_bytes, ["sha256"])
    if target.hashes != found.hashes or target.length != found.length:
        raise BadRequestError(f"{publication.path}: the signed hash and length are not the manifest's")


def _check_minimum(minimum: str, current: Targets | None, *, published: str) -> None:
    before = minimum_version(current)
    if Version(minimum) < Version(before):
        raise InputError(f"minimum version {minimum}: expected at least {before}, which was signed before")
    if Version(minimum) > Version(published):
        raise InputError(f"minimum version {minimum}: expected at most {published}, the version being published")


def _check_minimum_is_text(role: Targets | None) -> None:
    """Refuse a minimum version of a kind that is not known here: to take it for none would open what it closed."""
    for target in role.targets.values() if role else ():
        found = target.custom.get(MINIMUM_VERSION, "") if isinstance(target.custom, dict) else ""
        if not isinstance(found, str):
            raise BadRequestError(f"{target.path}: expected a version as minimum_version, found {str(found)[:80]}")


def _with_minimum(target: TargetFile, minimum: str) -> TargetFile:
    """Return a target with this minimum version; what else was signed beside it stays, whoever added it."""
    unrecognized: dict[str, Any] = dict(target.unrecognized_fields)
    unrecognized["custom"] = {**(target.custom or {}), MINIMUM_VERSION: minimum}
    return TargetFile(target.length, target.hashes, target.path, unrecognized)


def _minimum_of(target: TargetFile) -> str:
    custom = target.custom
    found = custom.get(MINIMUM_VERSION) if isinstance(custom, dict) else None
    return found if isinstance(found, str) else NO_MINIMUM
