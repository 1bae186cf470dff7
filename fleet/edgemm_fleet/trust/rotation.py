"""The exchange of keys in root and targets: makes the next version of each, unsigned. Pure.

Root says who holds the keys of root, targets, snapshot and timestamp. Targets names the director's keys, by the target
`director.json`. So a key of the one kind is replaced by a new root, that of the director by new targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from edgemm.errors import InputError
from edgemm_fleet.trust.roles import Lifetimes, renewed

ROLES = ("director", "snapshot", "timestamp", "targets", "root")
"""Whose keys can be replaced."""
IN_ROOT = frozenset({"snapshot", "timestamp", "targets", "root"})
MAX_ROOT_VERSION = 250
"""A device follows at most 256 versions from the root that its token pinned, which is python-tuf's limit."""
_MOST_KEYS = 16


@dataclass(frozen=True)
class Exchange:
    """What becomes of one role's keys; `threshold` None leaves that as it is."""

    remove: tuple[str, ...] = ()
    add: tuple[Key, ...] = ()
    threshold: int | None = None


def next_root(
    current: Metadata[Root], exchanges: Mapping[str, Exchange], *, now: datetime, lifetimes: Lifetimes
) -> Metadata[Root]:
    """Return the root that follows, unsigned, with the keys of roles exchanged.

    Raises:
        InputError: a key is not the role's, the threshold cannot be reached, or there were too many roots.
    """
    following = renewed(current, now=now, lifetimes=lifetimes)
    root = following.signed
    if root.version > MAX_ROOT_VERSION:
        raise InputError(
            f"root: version {root.version} is above {MAX_ROOT_VERSION}, and devices that joined first would not "
            "follow any more; found the fleet anew, and let its devices join that"
        )
    for role, exchange in exchanges.items():
        for key_id in exchange.remove:
            if key_id not in root.roles[role].keyids:
                raise InputError(f"{role}: no key {key_id[:12]}…; `edgemm fleet keys show {role}` lists its keys")
            root.revoke_key(key_id, role)
        for key in exchange.add:
            root.add_key(key, role)
        if exchange.threshold is not None:
            root.roles[role].threshold = exchange.threshold
        found, threshold = len(root.roles[role].keyids), root.roles[role].threshold
        if not 1 <= threshold <= found <= _MOST_KEYS:
            raise InputError(
                f"{role}: {threshold} signatures of {found} keys cannot be: expected a threshold of 1 to the number of "
                f"keys, and at most {_MOST_KEYS} keys"
            )
    return following


def next_targets(
    current: Metadata[Targets], documents: Mapping[str, bytes], *, now: datetime, lifetimes: Lifetimes
) -> Metadata[Targets]:
    """Return the targets role that follows, unsigned, with `documents` as its targets of these paths."""
    following = renewed(current, now=now, lifetimes=lifetimes)
    for path, data in documents.items():
        following.signed.targets[path] = TargetFile.from_data(path, data, ["sha256"])
    return following
