"""The changes that a proposal makes, as people read them before they sign. Pure.

What a proposal says that it follows upon comes from the server, which may be somebody else's by now: a false one would
make a change look like none. So whoever signs is told all of it where the own key does not vouch for what was before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tuf.api.metadata import Metadata, Role, Root, Targets

from edgemm.trust.addresses import ADDRESSES_TARGET, described, read_addresses
from edgemm_fleet.trust.proposal import Proposal


def changes(proposal: Proposal) -> list[str]:
    """Return what a proposal changes, as people read it."""
    found = []
    if (root := proposal.new_root) is not None:
        old = proposal.old_root.signed
        found.append(f"root: version {old.version} → {root.signed.version}, until {root.signed.expires:%Y-%m-%d}")
        for name, role in root.signed.roles.items():
            found += _exchanged(name, old.roles[name], role)
    if (targets := proposal.new_targets) is not None:
        before = proposal.old_targets.signed
        found.append(
            f"targets: version {before.version} → {targets.signed.version}, until {targets.signed.expires:%Y-%m-%d}"
        )
        found += [
            f"targets: {path} is replaced" if path in before.targets else f"targets: {path} is new"
            for path, target in targets.signed.targets.items()
            if before.targets.get(path) != target
        ]
        found += _delegations(before, targets.signed)
    if (text := proposal.documents.get(ADDRESSES_TARGET)) is not None:
        found += [f"addresses: {line}" for line in described(read_addresses(text.encode(), fleet=proposal.fleet))]
    return found


def unvouched(proposal: Proposal, key_id: str) -> list[str]:
    """Return all that would hold afterwards, where this key did not sign what the proposal follows upon."""
    old = proposal.old_root
    bases: list[tuple[str, Metadata[Root] | Metadata[Targets], bool]] = [
        ("root", old, proposal.root is not None),
        ("targets", proposal.old_targets, proposal.targets is not None),
    ]
    vouched = all(
        key_id in old.signed.get_verification_result(role, base.signed_bytes, base.signatures).signed
        for role, base, changed in bases
        if changed and key_id in old.signed.roles[role].keyids
    )
    known = any(key_id in old.signed.roles[role].keyids for role, _, changed in bases if changed)
    return [] if vouched and known else list(_everything(proposal))


def _everything(proposal: Proposal) -> Iterator[str]:
    root, targets = proposal.new_root or proposal.old_root, proposal.new_targets or proposal.old_targets
    holders: list[tuple[str, Role]] = list(root.signed.roles.items())
    if targets.signed.delegations is not None:
        holders += sorted((targets.signed.delegations.roles or {}).items())
    for name, role in holders:
        keys = ", ".join(f"{key_id[:12]}…" for key_id in role.keyids)
        yield f"{name}: {role.threshold} of {len(role.keyids)} keys: {keys}"


def _exchanged(name: str, old: Role, new: Role) -> Iterator[str]:
    for key_id in old.keyids:
        if key_id not in new.keyids:
            yield f"{name}: key {key_id[:12]}… goes"
    for key_id in new.keyids:
        if key_id not in old.keyids:
            yield f"{name}: key {key_id[:12]}… comes"
    if old.threshold != new.threshold:
        yield f"{name}: {old.threshold} signatures → {new.threshold} of {len(new.keyids)} keys"


def _delegations(old: Targets, new: Targets) -> Iterator[str]:
    before: Mapping[str, Role] = (old.delegations.roles if old.delegations else None) or {}
    after: Mapping[str, Role] = (new.delegations.roles if new.delegations else None) or {}
    for name in sorted(before.keys() | after.keys()):
        nobody = Role([], 1)
        yield from _exchanged(name, before.get(name, nobody), after.get(name, nobody))
