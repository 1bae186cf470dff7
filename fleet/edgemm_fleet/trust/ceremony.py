"""The ceremony by which keys of a fleet are replaced: propose, sign where the offline keys are, apply.

    proposal = propose(repository, {"timestamp": Replacement()}, now=now)
    proposal = sign_here(repository, proposal, keys=[])     # by the offline keys that lie in the folder
    if not missing(proposal):
        repository.apply(proposal, now=now)

Keys of the server are made on it. Root and targets keys are made where they are kept; where they still lie in the
folder, there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import CryptoSigner, Key

from edgemm.errors import InputError
from edgemm.trust.enrolment import DIRECTOR_TARGET
from edgemm_fleet.trust import proposal as proposals
from edgemm_fleet.trust.metadata_files import serialize
from edgemm_fleet.trust.proposal import Proposal
from edgemm_fleet.trust.roles import director_document, renewed
from edgemm_fleet.trust.rotation import IN_ROOT, Exchange, next_root, next_targets
from edgemm_fleet.trust.version_repository import VersionRepository

OFFLINE_ROLES = frozenset({"root", "targets"})


@dataclass(frozen=True)
class Replacement:
    """How the keys of a role are replaced: of root and targets, which go (the only one unless given), and what comes.

    Without new keys one is made for each that goes.
    """

    replaced: tuple[str, ...] = ()
    new_keys: tuple[Key, ...] = ()
    threshold: int | None = None


def propose(repository: VersionRepository, wanted: Mapping[str, Replacement], *, now: datetime) -> Proposal:
    """Return the change that replaces keys of roles, without signatures; private keys that it needs are made, durably.

    Raises:
        InputError: it is not clear which keys, the threshold cannot be reached, or the new key is made elsewhere.
    """
    rehearse(repository, wanted, keys=(), now=now)
    keys = repository.keys
    return _replacing(repository, wanted, prepare=keys.prepare, make=keys.create_offline, now=now)


def rehearse(
    repository: VersionRepository, wanted: Mapping[str, Replacement], *, keys: Iterable[CryptoSigner], now: datetime
) -> Proposal:
    """Return what `propose` and `sign_here` would, with new keys that are kept nowhere: one refused leaves none behind.

    Raises:
        InputError: as they do.
    """
    made = []

    def make(role: str) -> CryptoSigner:
        repository.keys.check_offline(role)
        made.append(CryptoSigner.generate_ed25519())
        return made[-1]

    proposal = _replacing(repository, wanted, prepare=lambda _: CryptoSigner.generate_ed25519(), make=make, now=now)
    return sign_here(repository, proposal, keys=(*keys, *made))


def _replacing(
    repository: VersionRepository,
    wanted: Mapping[str, Replacement],
    *,
    prepare: Callable[[str], CryptoSigner],
    make: Callable[[str], CryptoSigner],
    now: datetime,
) -> Proposal:
    online = {role: prepare(role).public_key for role in wanted if role not in OFFLINE_ROLES}
    exchanges = {
        role: _exchange(repository, role, wanted[role], online, make=make) for role in wanted if role in IN_ROOT
    }
    documents: dict[str, bytes] = {}
    if "director" in wanted:
        fleet = repository.folder.read_config().name
        documents[DIRECTOR_TARGET] = director_document(fleet, (online["director"],))
    return _proposal(
        repository,
        exchanges,
        documents,
        online={role: key.keyid for role, key in online.items()},
        renew=frozenset({"targets"} & wanted.keys()),
        now=now,
    )


def propose_documents(repository: VersionRepository, documents: Mapping[str, bytes], *, now: datetime) -> Proposal:
    """Return the change that replaces targets of the top-level role, without signatures."""
    return _proposal(repository, {}, documents, online={}, renew=frozenset(), now=now)


def propose_renewal(repository: VersionRepository, roles: Iterable[str], *, now: datetime) -> Proposal:
    """Return the change that gives root or targets, or both, a later expiry and nothing else, without signatures."""
    return _proposal(repository, {}, {}, online={}, renew=frozenset(roles), now=now)


def sign_here(repository: VersionRepository, proposal: Proposal, *, keys: Iterable[CryptoSigner]) -> Proposal:
    """Return a proposal with the signatures of the offline keys in the folder, and of `keys`.

    Raises:
        InputError: one of `keys` is not among those that are to sign it.
    """
    old, new = proposal.old_root.signed, (proposal.new_root or proposal.old_root).signed
    holders = {"root": proposal.root, "targets": proposal.targets}
    wanted = [
        key_id for role, text in holders.items() if text for root in (old, new) for key_id in root.roles[role].keyids
    ]
    for signer in (*repository.keys.offline(wanted), *keys):
        proposal = proposals.sign(proposal, signer)
    return proposal


def _exchange(
    repository: VersionRepository,
    role: str,
    wanted: Replacement,
    online: Mapping[str, Key],
    *,
    make: Callable[[str], CryptoSigner],
) -> Exchange:
    before = tuple(repository.root.signed.roles[role].keyids)
    if role in online:
        return Exchange(remove=before, add=(online[role],), threshold=1)
    if not wanted.replaced and len(before) > 1:
        listed = ", ".join(key_id[:12] for key_id in before)
        raise InputError(f"{role} has {len(before)} keys ({listed}): say by --replace which of them go")
    remove = tuple(_full_id(role, before, text) for text in wanted.replaced) or before
    add = wanted.new_keys or tuple(make(role).public_key for _ in remove)
    return Exchange(remove, add, wanted.threshold)


def _full_id(role: str, key_ids: Iterable[str], text: str) -> str:
    found = [key_id for key_id in key_ids if text and key_id.startswith(text.rstrip("…"))]
    if len(found) != 1:
        raise InputError(f"--replace {text!r}: expected the beginning of one {role} key's id: edgemm fleet keys list")
    return found[0]


def _proposal(
    repository: VersionRepository,
    exchanges: Mapping[str, Exchange],
    documents: Mapping[str, bytes],
    *,
    online: dict[str, str],
    renew: frozenset[str],
    now: datetime,
) -> Proposal:
    lifetimes = repository.lifetimes
    root = targets = None
    if exchanges or "root" in renew:
        root = next_root(repository.root, exchanges, now=now, lifetimes=lifetimes)
    if documents:
        targets = next_targets(repository.targets_role, documents, now=now, lifetimes=lifetimes)
    elif "targets" in renew:
        targets = renewed(repository.targets_role, now=now, lifetimes=lifetimes)
    return Proposal(
        fleet=repository.folder.read_config().name,
        base_root=repository.root_bytes.decode(),
        base_targets=serialize(repository.targets_role).decode(),
        root=None if root is None else serialize(root).decode(),
        targets=None if targets is None else serialize(targets).decode(),
        documents={path: data.decode() for path, data in documents.items()},
        online_keys=online,
    )
