"""A proposed change of root and targets: carried to where the offline keys are, signed there, brought back and applied.

One JSON file holds all of it, so that it can be carried on a stick: the metadata that follows, with the signatures that
it has so far, and what it follows upon, so that whoever signs sees what changes. Nothing in it is secret. Copies that
were signed in different places are merged. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, T, Targets, VerificationResult
from tuf.api.serialization import DeserializationError

from edgemm.canonical import fault
from edgemm.errors import InputError
from edgemm_fleet.trust.metadata_files import COMPACT, serialize

MAX_PROPOSAL_BYTES = 16_000_000
_Document = Annotated[str, Meta(max_length=5_000_000)]
_KeyId = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
_OnlineRole = Annotated[str, Meta(pattern=r"^(snapshot|timestamp|director)\Z")]


class Proposal(Struct, frozen=True, kw_only=True):
    """What is to follow: `root`, `targets` or both as TUF metadata, and `documents`, the new targets by path.

    `online_keys` are the ids of keys that the server takes up with it, by role; it has their private halves.
    """

    v: Literal[1] = 1
    fleet: str
    base_root: _Document
    base_targets: _Document
    root: _Document | None = None
    targets: _Document | None = None
    documents: dict[str, _Document] = {}
    online_keys: dict[_OnlineRole, _KeyId] = {}

    @property
    def old_root(self) -> Metadata[Root]:
        """The root that it follows upon."""
        return read_metadata(self.base_root, Root)

    @property
    def old_targets(self) -> Metadata[Targets]:
        """The targets role that it follows upon."""
        return read_metadata(self.base_targets, Targets)

    @property
    def new_root(self) -> Metadata[Root] | None:
        """The root that is to follow."""
        return None if self.root is None else read_metadata(self.root, Root)

    @property
    def new_targets(self) -> Metadata[Targets] | None:
        """The targets role that is to follow."""
        return None if self.targets is None else read_metadata(self.targets, Targets)


class _Wanted(Struct, frozen=True):
    """Whose signatures a document needs: those of a role's keys, as a root names them."""

    document: str
    metadata: Metadata[Root] | Metadata[Targets]
    who: str
    root: Root
    role: str

    @property
    def key_ids(self) -> list[str]:
        """The keys of whom so many as the threshold are to sign."""
        return list(self.root.roles[self.role].keyids)

    @property
    def result(self) -> VerificationResult:
        """Who signed, and who may still."""
        return self.root.get_verification_result(self.role, self.metadata.signed_bytes, self.metadata.signatures)


def decode(data: bytes, *, name: str) -> Proposal:
    """Read a proposal, and the metadata in it.

    Raises:
        InputError: it is none, or a later edgemm's.
    """
    try:
        if len(data) > MAX_PROPOSAL_BYTES:
            raise InputError(f"{name}: {len(data):,} bytes, the limit is {MAX_PROPOSAL_BYTES:,}")
        proposal = msgspec.json.decode(data, type=Proposal)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        told = fault(err, data)
        raise InputError(f"{name}: expected a proposal that `edgemm fleet keys rotate` wrote: {told}") from err
    try:
        list(_wanted(proposal))  # reads all of it
    except InputError as err:
        raise InputError(f"{name}: {err}") from err
    return proposal


def encode(proposal: Proposal) -> bytes:
    """Return a proposal as it is written to a file."""
    return msgspec.json.format(msgspec.json.encode(proposal), indent=1) + b"\n"


def read_metadata(text: str, kind: type[T]) -> Metadata[T]:
    """Read TUF metadata of one kind.

    Raises:
        InputError: it is none.
    """
    try:
        metadata: Metadata[T] = Metadata.from_bytes(text.encode())
    except (DeserializationError, RecursionError) as err:
        cause = err.__cause__ or err
        found = f"no {cause}" if isinstance(cause, KeyError) else cause
        raise InputError(f"expected TUF metadata of {kind.__name__.lower()}: {found}") from err
    if not isinstance(metadata.signed, kind):
        raise InputError(f"expected TUF metadata of {kind.__name__.lower()}, found {metadata.signed.type}")
    return metadata


def sign(proposal: Proposal, signer: CryptoSigner) -> Proposal:
    """Return the proposal with the signatures that a key is good for; those that it has stay.

    Raises:
        InputError: none of its documents wants this key.
    """
    key_id = signer.public_key.keyid
    signed: dict[str, Any] = {}
    for wanted in _signable(proposal):
        if key_id in wanted.key_ids:
            wanted.metadata.sign(signer, append=True)
            signed[wanted.document] = wanted.metadata.to_bytes(COMPACT).decode()
    if not signed:
        wanted_keys = "; ".join(_keys(proposal))
        raise InputError(f"key {key_id[:12]}…: not one of those that are to sign this: {wanted_keys}")
    return msgspec.structs.replace(proposal, **signed)


def merge(proposals: Sequence[Proposal]) -> Proposal:
    """Return one proposal with the signatures of all copies.

    Raises:
        InputError: they are not copies of one proposal.
    """
    first, others = proposals[0], proposals[1:]
    if any(_bare(other) != _bare(first) for other in others):
        raise InputError("these are not copies of one proposal; sign copies of the same file")
    root = _merged([first.new_root, *(other.new_root for other in others)])
    targets = _merged([first.new_targets, *(other.new_targets for other in others)])
    return msgspec.structs.replace(first, root=root, targets=targets)


def _merged(copies: Sequence[Metadata[T] | None]) -> str | None:
    """Return metadata with the signatures of all copies; one that was made wrong by somebody replaces no good one."""
    if (metadata := copies[0]) is None:
        return None
    for other in copies[1:]:
        if other is None or other.signed != metadata.signed:
            raise InputError("these are not copies of one proposal; sign copies of the same file")
        for key_id, signature in other.signatures.items():
            metadata.signatures.setdefault(key_id, signature)
    return serialize(metadata).decode()


def missing(proposal: Proposal) -> list[str]:
    """Return what a proposal still needs, as people read it; empty where it is wholly signed."""
    found = []
    for wanted in _wanted(proposal):
        result = wanted.result
        if result.missing:
            others = ", ".join(f"{key_id[:12]}…" for key_id in result.unsigned)
            found.append(f"{wanted.document}: {result.missing} more of {wanted.who} ({others})")
    return found


def _wanted(proposal: Proposal) -> Iterator[_Wanted]:
    """Yield whose signatures are needed: old and coming root keys for root, the coming targets keys for targets."""
    old, root, targets = proposal.old_root.signed, proposal.new_root, proposal.new_targets
    if root is not None:
        yield _Wanted("root", root, "the root keys so far", old, "root")
        yield _Wanted("root", root, "the coming root keys", root.signed, "root")
    if targets is not None:
        holder = root.signed if root is not None else old
        yield _Wanted("targets", targets, "the targets keys", holder, "targets")


def _signable(proposal: Proposal) -> Iterator[_Wanted]:
    """Yield who may sign: also targets keys that go, so that devices follow at every moment of the change."""
    found = list(_wanted(proposal))
    documents = {wanted.document: wanted.metadata for wanted in found}  # one of each, to gather its signatures
    for wanted in found:
        yield msgspec.structs.replace(wanted, metadata=documents[wanted.document])
    if "targets" in documents:
        old = proposal.old_root.signed
        yield _Wanted("targets", documents["targets"], "the targets keys so far", old, "targets")


def _keys(proposal: Proposal) -> list[str]:
    return [f"{wanted.who} {', '.join(f'{key_id[:12]}…' for key_id in wanted.key_ids)}" for wanted in _wanted(proposal)]


def _bare(proposal: Proposal) -> Proposal:
    return msgspec.structs.replace(proposal, root=None, targets=None)
