"""The changes that a proposal makes, as people read them before they sign, and whether they can be made. Pure.

What a proposal says that it follows upon comes from the server, which may be somebody else's by now: a false one would
make a change look like none. So whoever signs is told all of it where the own key does not vouch for what was before.

What is signed says what is to hold; what goes along unsigned, the documents and whose keys the server takes up, has to
be what is signed, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from tuf.api.metadata import Metadata, Role, Root, TargetFile, Targets

from edgemm.errors import InputError, MessageError, TrustError
from edgemm.trust.addresses import ADDRESSES_TARGET, described, read_addresses
from edgemm.trust.enrolment import DIRECTOR_TARGET
from edgemm.trust.signing import key_from_document
from edgemm_fleet.trust.proposal import Proposal
from edgemm_fleet.trust.roles import key_ids_of_director

_ANEW = "propose it anew"


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


def check(proposal: Proposal, *, now: datetime) -> None:
    """Check that a proposal fits together, and has not expired; raises as `check_fits`."""
    check_fits(proposal)
    for new in (proposal.new_root, proposal.new_targets):
        if new is not None and new.signed.is_expired(now):
            raise InputError(f"{new.signed.type}: it expired at {new.signed.expires.isoformat()}; {_ANEW}")


def check_fits(proposal: Proposal) -> None:
    """Check that what is to be signed can hold, and fits what goes with it.

    Raises:
        InputError: a version does not follow, a key is none, or a document or key is not the signed one.
    """
    if proposal.root is None and proposal.targets is None:
        raise InputError(f"it changes neither root nor targets; {_ANEW}")
    pairs = ((proposal.old_root, proposal.new_root), (proposal.old_targets, proposal.new_targets))
    for old, new in pairs:
        if new is not None and new.signed.version != old.signed.version + 1:
            expected, found = old.signed.version + 1, new.signed.version
            raise InputError(f"{new.signed.type}: expected version {expected}, found {found}; {_ANEW}")
    _check_keys((proposal.new_root or proposal.old_root).signed)
    _check_documents(proposal)
    _check_online(proposal)


def _check_keys(root: Root) -> None:
    for name, role in root.roles.items():
        if not 1 <= role.threshold <= len(role.keyids):
            raise InputError(f"{name}: {role.threshold} signatures of {len(role.keyids)} keys cannot be; {_ANEW}")
        for key_id in role.keyids:
            try:
                known = key_id in root.keys and key_from_document(root.keys[key_id].to_dict()).keyid == key_id
            except TrustError:
                known = False
            if not known:
                raise InputError(f"{name}: key {key_id[:12]}… comes without its public half, or is none; {_ANEW}")


def _check_documents(proposal: Proposal) -> None:
    targets, before = (proposal.new_targets or proposal.old_targets).signed.targets, proposal.old_targets.signed.targets
    for path, target in targets.items():
        document = proposal.documents.get(path)
        if document is None and before.get(path) == target:
            continue
        if document is None or TargetFile.from_data(path, document.encode(), ["sha256"]).hashes != target.hashes:
            raise InputError(f"targets: {path} is signed, and not what the proposal brings; {_ANEW}")
    if strange := sorted(proposal.documents.keys() - targets.keys()):
        raise InputError(f"targets: the proposal brings {strange[0][:80]!r}, which is not signed; {_ANEW}")


def _check_online(proposal: Proposal) -> None:
    root, online = (proposal.new_root or proposal.old_root).signed, proposal.online_keys
    for role in ("snapshot", "timestamp"):
        told, named = online.get(role), root.roles[role].keyids
        changed = named != proposal.old_root.signed.roles[role].keyids
        if (told is None and changed) or (told is not None and named != [told]):
            raise InputError(f"{role}: root names another key than the one that the proposal brings; {_ANEW}")
    document, told = proposal.documents.get(DIRECTOR_TARGET), online.get("director")
    if document is None and told is None:
        return
    try:
        named = [] if document is None else key_ids_of_director(document.encode())
    except (MessageError, TrustError) as err:
        raise InputError(f"{err}; {_ANEW}") from err
    if named != [told]:
        raise InputError(f"director: the signed document names another key than the proposal brings; {_ANEW}")
