"""The TUF roles of a version repository: makes the next version of each role's metadata.

Pure: time is an argument, keys are signers, nothing is read or written. Root and targets say when they were signed
(`issued`): no statement takes a device's time back behind that. Names and lifetimes:

    root, targets          made to be taken offline     10 years
    model-NAME             the publisher's              5 years
    snapshot               online, re-signed            7 days
    timestamp              online, re-signed            1 day
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    T,
    TargetFile,
    Targets,
    Timestamp,
)

from edgemm import canonical, times
from edgemm.trust.enrolment import DIRECTOR_TARGET
from edgemm.trust.signing import key_document, key_from_document
from edgemm.trust.time_statement import ISSUED, issue_time_s
from edgemm.trust.withdrawn import role_name
from edgemm_fleet.clock import SLACK_S


@dataclass(frozen=True)
class Lifetimes:
    """How long a signature of each role is good for."""

    offline: timedelta = timedelta(days=3650)
    """Of root and targets."""

    model: timedelta = timedelta(days=1826)
    """Of a publisher's role."""

    snapshot: timedelta = timedelta(days=7)
    """Re-signed when less than half of it is left."""

    timestamp: timedelta = timedelta(days=1)
    """Re-signed when less than half of it is left: how long a frozen repository can go unnoticed."""


DEFAULT_LIFETIMES = Lifetimes()


class _DirectorKeys(Struct):
    keys: list[dict[str, Any]]


def target_path(model: str, version: str) -> str:
    """Return the TUF target path of a version's manifest."""
    return f"models/{model}/{version}.json"


def target_version(path: str) -> str:
    """Return the version of which a target path names the manifest."""
    return path.rpartition("/")[2].removesuffix(".json")


def director_document(fleet: str, keys: tuple[Key, ...]) -> bytes:
    """Return `director.json`: who may sign `desired` for this fleet."""
    return canonical.encode({"v": 1, "fleet": fleet, "keys": [key_document(key) for key in keys]})


def key_ids_of_director(document: bytes) -> list[str]:
    """Return the ids of the keys that `director.json` names.

    Raises:
        MessageError: it is none.
        TrustError: one of them is no key of a kind that is known here.
    """
    keys = canonical.decode(document, _DirectorKeys, name=DIRECTOR_TARGET).keys
    return [str(key_from_document(key).keyid) for key in keys]


def first_root(
    signers: Mapping[str, CryptoSigner],
    *,
    more_roots: Sequence[CryptoSigner] = (),
    threshold: int = 1,
    now: datetime,
    lifetimes: Lifetimes,
) -> Metadata[Root]:
    """Return version 1 of the root role, signed by all root keys; `signers` by role name.

    A later version of it needs the signatures of `threshold` of them.
    """
    root = Root(expires=_whole(now + lifetimes.offline), consistent_snapshot=True, unrecognized_fields=issued(now))
    for role in ("root", "targets", "snapshot", "timestamp"):
        root.add_key(signers[role].public_key, role)
    for signer in more_roots:
        root.add_key(signer.public_key, "root")
    root.roles["root"].threshold = threshold
    metadata = Metadata(root)
    for signer in (signers["root"], *more_roots):
        metadata.sign(signer, append=True)
    return metadata


def first_targets(director: bytes, signer: CryptoSigner, *, now: datetime, lifetimes: Lifetimes) -> Metadata[Targets]:
    """Return version 1 of the top-level targets role: `director.json` and no model yet."""
    target = TargetFile.from_data(DIRECTOR_TARGET, director, ["sha256"])
    targets = Targets(
        expires=_whole(now + lifetimes.offline),
        targets={DIRECTOR_TARGET: target},
        delegations=Delegations(keys={}, roles={}),
        unrecognized_fields=issued(now),
    )
    metadata = Metadata(targets)
    metadata.sign(signer)
    return metadata


def authorise(
    current: Metadata[Targets], model: str, key: Key, *, signer: CryptoSigner, now: datetime, lifetimes: Lifetimes
) -> Metadata[Targets]:
    """Return the next targets role, in which `key` may sign versions of `model` (beside keys that already may)."""
    following = renewed(current, now=now, lifetimes=lifetimes)
    delegations = following.signed.delegations or Delegations(keys={}, roles={})
    assert delegations.roles is not None
    role = role_name(model)
    if role not in delegations.roles:
        delegations.roles[role] = DelegatedRole(
            role, keyids=[], threshold=1, terminating=True, paths=[f"models/{model}/*"]
        )
    following.signed.delegations = delegations
    following.signed.add_key(key, role)
    following.sign(signer)
    return following


def deprive(
    current: Metadata[Targets], model: str, key_id: str, *, now: datetime, lifetimes: Lifetimes
) -> Metadata[Targets]:
    """Return the next targets role, unsigned, in which a key may no longer sign versions of `model`."""
    following = renewed(current, now=now, lifetimes=lifetimes)
    following.signed.revoke_key(key_id, role_name(model))
    return following


def withdrawn(
    current: Metadata[Targets], models: Collection[str], *, now: datetime, lifetimes: Lifetimes
) -> Metadata[Targets]:
    """Return the next targets role, unsigned, in which nobody may sign versions of these models."""
    following = renewed(current, now=now, lifetimes=lifetimes)
    delegations = following.signed.delegations
    if delegations is not None and delegations.roles is not None:
        for model in models:
            delegations.roles.pop(role_name(model), None)
        used = {keyid for role in delegations.roles.values() for keyid in role.keyids}
        delegations.keys = {keyid: key for keyid, key in delegations.keys.items() if keyid in used}
    return following


def renewed(current: Metadata[T], *, now: datetime, lifetimes: Lifetimes) -> Metadata[T]:
    """Return the next version of root or targets, as it is but for its version and expiry, without signatures."""
    following: Metadata[T] = Metadata.from_bytes(current.to_bytes())
    following.signatures.clear()
    following.signed.version += 1
    following.signed.expires = _whole(now + lifetimes.offline)
    following.signed.unrecognized_fields.update(issued(now))
    return following


def issued(now: datetime) -> dict[str, str]:
    """Return the signed field of root and targets that says when they were signed."""
    return {ISSUED: times.to_text(now.timestamp())}


def issued_in_future(signed: Root | Targets, *, now: datetime) -> bool:
    """Tell whether metadata was signed by a clock that was ahead of this one."""
    return issue_time_s(signed.unrecognized_fields) > now.timestamp() + SLACK_S


def model_keys(targets: Targets, model: str) -> tuple[str, ...]:
    """Return the ids of the keys that may sign versions of a model; none where it was never authorised."""
    roles = targets.delegations.roles if targets.delegations else None
    role = (roles or {}).get(role_name(model))
    return tuple(role.keyids) if role else ()


def models(targets: Targets) -> tuple[str, ...]:
    """Return the names of all models that somebody may publish."""
    found = targets.delegations.roles if targets.delegations else None
    return tuple(role.removeprefix("model-") for role in found or {})


def next_snapshot(
    current: Metadata[Snapshot] | None,
    files: Mapping[str, MetaFile],
    *,
    signer: CryptoSigner,
    now: datetime,
    lifetimes: Lifetimes,
) -> Metadata[Snapshot]:
    """Return the snapshot that follows `current`, with `files` (by role name) put in.

    They are named by their hashes too: after a restore a version may be written again with another content, and a
    device that holds the one before would take it for this one.
    """
    meta = dict(current.signed.meta) if current else {}
    meta |= {f"{role}.json": file for role, file in files.items()}
    version = _following(current.signed.version, now) if current else 1
    metadata = Metadata(Snapshot(version=version, expires=_whole(now + lifetimes.snapshot), meta=meta))
    metadata.sign(signer)
    return metadata


def next_timestamp(
    current: Metadata[Timestamp] | None,
    snapshot_version: int,
    *,
    signer: CryptoSigner,
    now: datetime,
    lifetimes: Lifetimes,
) -> Metadata[Timestamp]:
    """Return the timestamp that follows `current` and names a snapshot."""
    version = _following(current.signed.version, now) if current else 1
    expires = _whole(now + lifetimes.timestamp)
    metadata = Metadata(Timestamp(version=version, expires=expires, snapshot_meta=MetaFile(snapshot_version)))
    metadata.sign(signer)
    return metadata


def is_due(expires: datetime, *, lifetime: timedelta, now: datetime) -> bool:
    """Tell whether a short-lived role is to be re-signed.

    Less than half of its life is left, or more than the whole: it was signed while the clock was ahead, and would for
    so long not be signed again, nor a frozen repository be noticed.
    """
    return not lifetime / 2 <= expires - now <= lifetime + timedelta(seconds=SLACK_S)


def _following(version: int, now: datetime) -> int:
    """Return the next version of an online role: the time in seconds, or one more where that is not above.

    A fleet manager that was restored from a backup thereby signs above all that it signed since, which devices have
    seen and below which they take nothing.
    """
    return max(version + 1, int(now.timestamp()))


def _whole(moment: datetime) -> datetime:
    """Cut to whole seconds, which is all that TUF metadata can carry."""
    return moment.replace(microsecond=0)
