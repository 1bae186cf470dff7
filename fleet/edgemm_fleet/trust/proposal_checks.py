"""The checks of a proposal: that it fits together, before anybody signs it, and that it holds now. Pure.

A proposal is a file that passes through many hands. What is signed says what is to hold; what goes along unsigned, the
documents and whose keys the server takes up, has to be what is signed, and nothing else.
"""

from __future__ import annotations

from datetime import datetime

from tuf.api.metadata import Root, TargetFile

from edgemm.errors import InputError, MessageError, TrustError
from edgemm.trust.enrolment import DIRECTOR_TARGET
from edgemm.trust.signing import key_from_document
from edgemm_fleet.trust.proposal import Proposal
from edgemm_fleet.trust.roles import key_ids_of_director

_ANEW = "propose it anew"


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
