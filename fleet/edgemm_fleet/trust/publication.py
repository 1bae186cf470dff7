"""The publication of a version as a TUF target: the role that a publisher signs, and the server's checks. Pure.

The publisher extends the role that it already signed (`extend`). The server compares the extension with the role that
it has (`check_extension`): one version up, nothing that was published changed, at most one target more, and that target
is the manifest that came with it. The minimum version never goes down by a publication, and what was withdrawn stays
so: both are an administrator's to change (`edgemm_fleet.trust.withdrawal`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, TargetFile, Targets

from edgemm.bundle.manifest import Manifest, decode_manifest
from edgemm.canonical import sha256
from edgemm.errors import BadRequestError, ConflictError, InputError
from edgemm.trust.withdrawn import role_name
from edgemm.versions import Version
from edgemm_fleet.trust.model_role import (
    check_following,
    check_minimum_is_text,
    check_still_withdrawn,
    minimum_version,
    next_role,
    with_minimum,
    withdrawn_of,
)
from edgemm_fleet.trust.roles import Lifetimes, target_path


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
        ConflictError: the version was published with another content, or was withdrawn.
    """
    manifest = decode_manifest(manifest_bytes, path="manifest.json")
    check_minimum_is_text(current)
    _check_not_withdrawn(current, manifest)
    lowest = minimum or minimum_version(current)
    _check_minimum(lowest, current, manifest)
    path = target_path(manifest.name, manifest.version)
    if published_digest(current, path) not in {None, sha256(manifest_bytes)}:
        raise ConflictError(
            f"{manifest.name} {manifest.version} is published with another content; give the new one another version"
        )
    target = TargetFile.from_data(path, manifest_bytes, ["sha256"])
    targets = {name: with_minimum(old, lowest) for name, old in (current.targets if current else {}).items()}
    targets[path] = with_minimum(target, lowest)
    return next_role(current, targets, signer, now=now, lifetimes=lifetimes)


def renewed_role(current: Targets, signer: CryptoSigner, *, now: datetime, lifetimes: Lifetimes) -> Metadata[Targets]:
    """Return the next version of a model's role with the same targets, signed by a publisher."""
    return next_role(current, dict(current.targets), signer, now=now, lifetimes=lifetimes)


def check_extension(top: Targets, current: Targets | None, publication: Publication, *, now: datetime) -> None:
    """Check a publication against the top-level targets role and the model's role as it is.

    Raises:
        PermissionDeniedError: no key that may publish this model signed it.
        ConflictError: it is not the version that follows, or changes what was published.
        BadRequestError: it contradicts itself or the manifest.
    """
    role, manifest = publication.role, publication.manifest
    check_following(top, manifest.name, current, role, now=now)
    check_still_withdrawn(manifest.name, current, role.signed)
    _check_not_withdrawn(current, manifest)
    _check_unchanged(current, role.signed, publication.path)
    _check_target(role.signed, publication)
    try:
        _check_minimum(minimum_version(role.signed), current, manifest)
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
    if current is None:
        raise ConflictError(f"model {model}: nothing of it is published, so there is nothing to sign anew")
    check_following(top, model, current, following, now=now)
    check_still_withdrawn(model, current, following.signed)
    if following.signed.targets != current.targets:
        raise BadRequestError(f"role {role_name(model)}: expected the same targets as before")


def _check_unchanged(current: Targets | None, following: Targets, path: str) -> None:
    before = current.targets if current else {}
    lowest = minimum_version(following)
    for name, target in before.items():
        found = following.targets.get(name)
        if found is None or found.hashes != target.hashes or found.length != target.length:
            raise ConflictError(f"{name}: it is published and cannot change; give the new content another version")
        if found != with_minimum(target, lowest):
            raise BadRequestError(f"{name}: it is published; expected the same beside it, but for minimum_version")
    if extra := set(following.targets) - set(before) - {path}:
        raise BadRequestError(f"role metadata: expected {path} alone to be new, found {min(extra)[:200]!r} too")


def _check_target(role: Targets, publication: Publication) -> None:
    target = role.targets.get(publication.path)
    if target is None:
        raise BadRequestError(f"role metadata: expected the target {publication.path}, found none")
    found = TargetFile.from_data(publication.path, publication.manifest_bytes, ["sha256"])
    if target.hashes != found.hashes or target.length != found.length:
        raise BadRequestError(f"{publication.path}: the signed hash and length are not the manifest's")


def _check_not_withdrawn(current: Targets | None, manifest: Manifest) -> None:
    if manifest.version in withdrawn_of(current):
        raise ConflictError(
            f"{manifest.name} {manifest.version} was withdrawn, and its number is used up, whatever its content: "
            "publish a version of another number"
        )


def _check_minimum(minimum: str, current: Targets | None, manifest: Manifest) -> None:
    name, published, before = manifest.name, manifest.version, minimum_version(current)
    lower = f"an administrator may lower it: edgemm fleet models withdraw {name} --minimum-version V"
    if Version(minimum) < Version(before):
        raise InputError(f"minimum version {minimum}: expected at least {before}, which was signed before; {lower}")
    if Version(minimum) <= Version(published):
        return
    if minimum == before:
        raise InputError(
            f"{name} {published}: below {before}, the signed minimum version, so no device would take it; "
            f"publish {before} or a later one, or {lower}"
        )
    raise InputError(
        f"minimum version {minimum}: expected at most {published}, the version being published; publish a version that "
        "is as high, or give a lower minimum version"
    )
