"""The withdrawal of versions of a model: the role that a publisher signs for an administrator, and the checks. Pure.

A withdrawn version is no target any more, so no device installs it, whoever asks; what runs goes on. The role names it
as withdrawn, and its number is used up. A withdrawal may also give the model another minimum version, a lower one too:
it is the way back from what a stolen publisher's key signed. The server takes one from an administrator alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Targets

from edgemm.errors import BadRequestError, ConflictError, InputError
from edgemm.trust.withdrawn import WITHDRAWN, role_name
from edgemm.versions import Version
from edgemm_fleet.trust.model_role import (
    check_following,
    check_minimum_is_text,
    minimum_version,
    next_role,
    with_minimum,
    withdrawn_of,
)
from edgemm_fleet.trust.roles import Lifetimes, target_path, target_version


def withdrawal(
    current: Targets,
    model: str,
    versions: Collection[str],
    *,
    minimum: str | None,
    signer: CryptoSigner,
    now: datetime,
    lifetimes: Lifetimes,
) -> Metadata[Targets]:
    """Return the next version of a model's role without these versions, signed by a publisher.

    `minimum` None keeps the minimum version that is there. Versions that were withdrawn before change nothing.

    Raises:
        InputError: a version was never published, or the minimum version is none or above all that is left.
    """
    check_minimum_is_text(current)
    paths, gone = {target_path(model, version) for version in versions}, withdrawn_of(current)
    if unknown := {version for version in versions if target_path(model, version) not in current.targets} - gone:
        raise InputError(f"{model} {min(unknown)} is not published: `edgemm fleet models` lists what is")
    left = {path: target for path, target in current.targets.items() if path not in paths}
    lowest = minimum or minimum_version(current)
    if minimum is not None and not left:
        raise InputError(
            f"minimum version {minimum}: no version would be left that could carry it; leave --minimum-version out"
        )
    _check_minimum(model, lowest, left)
    return next_role(
        current,
        {path: with_minimum(target, lowest) for path, target in left.items()},
        signer,
        now=now,
        lifetimes=lifetimes,
        withdrawn=gone | frozenset(versions),
    )


def check_withdrawal(
    top: Targets, model: str, current: Targets | None, following: Metadata[Targets], *, now: datetime
) -> frozenset[str]:
    """Check a model's role from which versions are withdrawn; return those.

    Raises:
        PermissionDeniedError: no key that may publish this model signed it.
        ConflictError: it is not the version that follows, or nothing of the model is published.
        BadRequestError: it changes more than it may.
    """
    if current is None:
        raise ConflictError(f"model {model}: nothing of it is published, so there is nothing to withdraw")
    check_following(top, model, current, following, now=now)
    role, name = following.signed, role_name(model)
    if extra := set(role.targets) - set(current.targets):
        raise BadRequestError(f"role {name}: expected no new target in a withdrawal, found {min(extra)[:200]!r}")
    lowest = minimum_version(role)
    if role.targets != {path: with_minimum(current.targets[path], lowest) for path in role.targets}:
        raise BadRequestError(f"role {name}: expected the versions that are left as they were, but for their minimum")
    removed = frozenset(map(target_version, set(current.targets) - set(role.targets)))
    if withdrawn_of(role) != withdrawn_of(current) | removed:
        raise BadRequestError(f"role {name}: expected it to name as withdrawn what it leaves out, and nothing else")
    if more := set(role.unrecognized_fields) - {WITHDRAWN}:
        raise BadRequestError(f"role {name}: expected no field {min(more)[:80]!r} in it")
    try:
        _check_minimum(model, lowest, role.targets)
    except InputError as err:
        raise BadRequestError(str(err)) from err
    return removed


def _check_minimum(model: str, minimum: str, left: Iterable[str]) -> None:
    """Refuse a minimum version above all that is left: no device could install any of it."""
    versions = sorted(map(target_version, left), key=Version)
    if versions and Version(minimum) > Version(versions[-1]):
        raise InputError(
            f"model {model}: its minimum version would be {minimum}, and {versions[-1]} the highest version that is "
            f"left, so no device would take any; give --minimum-version, at most {versions[-1]}"
        )
