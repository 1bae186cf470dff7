"""The role of a model as TUF metadata: what it says beside its versions, and the checks of what follows it. Pure.

Every target of a role carries the same signed minimum version, so that a device sees it with any of them. The role
itself names the versions that were withdrawn: none of them is ever published again, whatever its content.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, TargetFile, Targets
from tuf.api.serialization import DeserializationError

from edgemm.errors import BadRequestError, ConflictError, InputError, PermissionDeniedError
from edgemm.trust.withdrawn import role_name, withdrawn_field, withdrawn_versions
from edgemm_fleet.trust.roles import Lifetimes

MINIMUM_VERSION = "minimum_version"
NO_MINIMUM = "0.0.0"
MAX_ROLE_BYTES = 4_000_000
"""Under python-tuf's own limit of 5,000,000 bytes, so that every client reads what is accepted here."""


def minimum_version(role: Targets | None) -> str:
    """Return the minimum version that a role's targets carry."""
    for target in role.targets.values() if role else ():
        return minimum_of(target)
    return NO_MINIMUM


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


def next_role(
    current: Targets | None,
    targets: dict[str, TargetFile],
    signer: CryptoSigner,
    *,
    now: datetime,
    lifetimes: Lifetimes,
    withdrawn: frozenset[str] | None = None,
) -> Metadata[Targets]:
    """Return the role that follows, with these targets, signed; `withdrawn` None keeps the versions that it names so.

    Of its other fields none stays: one that a thief filled would be there for good.

    Raises:
        BadRequestError: it names withdrawn versions in a way that is not known here.
    """
    fields = withdrawn_field(withdrawn_of(current) if withdrawn is None else withdrawn)
    expires = (now + lifetimes.model).replace(microsecond=0)
    version = current.version + 1 if current else 1
    metadata = Metadata(Targets(version=version, expires=expires, targets=targets, unrecognized_fields=fields))
    metadata.sign(signer)
    return metadata


def check_following(
    top: Targets, model: str, current: Targets | None, following: Metadata[Targets], *, now: datetime
) -> None:
    """Check what holds for every role that follows: by whom it is signed, its version, its expiry, its minimum.

    Raises:
        PermissionDeniedError: no key that may publish this model signed it.
        ConflictError: it is not the version that follows.
        BadRequestError: it has expired, delegates, or its minimum version is not one.
    """
    name, role = role_name(model), following.signed
    check_signature(top, model, following)
    expected = current.version + 1 if current else 1
    if role.version != expected:
        raise ConflictError(
            f"role {name}: expected version {expected}, found {role.version}; somebody changed it in between: "
            "do the same again"
        )
    if role.is_expired(now):
        raise BadRequestError(f"role {name}: it expired at {role.expires.isoformat()}")
    if role.delegations is not None:
        raise BadRequestError(f"role {name}: expected no delegations in it")
    check_minimum_is_text(role)
    _check_custom_is_object(role)
    for target in role.targets.values():
        if minimum_of(target) != minimum_version(role):
            raise BadRequestError(f"{target.path}: expected the same minimum_version on every target of the role")


def check_still_withdrawn(model: str, current: Targets | None, following: Targets) -> None:
    """Check that a role names the same withdrawn versions as the one before.

    Raises:
        BadRequestError: it does not: a publisher neither withdraws a version nor brings one back.
    """
    before, after = withdrawn_of(current), withdrawn_of(following)
    if lost := before - after:
        raise BadRequestError(
            f"role {role_name(model)}: it does not name {min(lost)}, which was withdrawn: an edgemm that knows of no "
            "withdrawn version signed it; update edgemm there, then do the same again"
        )
    if more := after - before:
        raise BadRequestError(
            f"role {role_name(model)}: it withdraws {min(more)[:80]}; an administrator does that: "
            f"edgemm fleet models withdraw {model} VERSION"
        )


def withdrawn_of(role: Targets | None) -> frozenset[str]:
    """Return the versions that a role names as withdrawn.

    Raises:
        BadRequestError: it names them in a way that is not known here.
    """
    if role is None:
        return frozenset()
    try:
        return withdrawn_versions(role.unrecognized_fields)
    except InputError as err:
        raise BadRequestError(f"role metadata: {err}") from err


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


def check_minimum_is_text(role: Targets | None) -> None:
    """Refuse a minimum version of a kind that is not known here: to take it for none would open what it closed."""
    for target in role.targets.values() if role else ():
        found = target.custom.get(MINIMUM_VERSION, "") if isinstance(target.custom, dict) else ""
        if not isinstance(found, str):
            raise BadRequestError(f"{target.path}: expected a version as minimum_version, found {str(found)[:80]}")


def _check_custom_is_object(role: Targets) -> None:
    for target in role.targets.values():
        if not isinstance(target.unrecognized_fields.get("custom", {}), dict):
            raise BadRequestError(f"{target.path}: expected an object as custom")


def with_minimum(target: TargetFile, minimum: str) -> TargetFile:
    """Return a target with this minimum version; what else was signed beside it stays, whoever added it."""
    unrecognized: dict[str, Any] = dict(target.unrecognized_fields)
    custom = target.custom if isinstance(target.custom, dict) else {}
    unrecognized["custom"] = {**custom, MINIMUM_VERSION: minimum}
    return TargetFile(target.length, target.hashes, target.path, unrecognized)


def minimum_of(target: TargetFile) -> str:
    """Return the minimum version beside a target."""
    custom = target.custom
    found = custom.get(MINIMUM_VERSION) if isinstance(custom, dict) else None
    return found if isinstance(found, str) else NO_MINIMUM
