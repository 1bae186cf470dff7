"""The chain of TUF roots: tells whether a root follows from one that a device trusts, version by version."""

from __future__ import annotations

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root
from tuf.api.serialization import DeserializationError

from edgemm.canonical import sha256
from edgemm.errors import NotFoundError
from edgemm.trust.enrolment import TUF_METADATA_PATH
from edgemm_runtime.agent.connection.fleet_connection import FleetConnection

_MOST_VERSIONS = 256
_MAX_ROOT_BYTES = 512_000


def follows(known: bytes, digest: str, server: FleetConnection) -> bool:
    """Tell whether the root document with this SHA-256 is `known`, or one that it leads to.

    Each version is signed by the keys of the one before and by its own; the server has them all.

    Raises:
        UnreachableError: the server is out of reach.
    """
    if sha256(known) == digest:
        return True
    try:
        root: Metadata[Root] = Metadata.from_bytes(known)
        until_s = server.document_until_s()
        for _ in range(_MOST_VERSIONS):
            path = f"{TUF_METADATA_PATH}{root.signed.version + 1}.root.json"
            with server.open("GET", path, until_s=until_s) as answer:
                data = answer.read(max_bytes=_MAX_ROOT_BYTES)
            root = _next(root, data)
            if sha256(data) == digest:
                return True
    except (NotFoundError, RepositoryError, DeserializationError, ValueError):
        pass
    return False


def _next(root: Metadata[Root], data: bytes) -> Metadata[Root]:
    following: Metadata[Root] = Metadata.from_bytes(data)
    if following.signed.type != Root.type or following.signed.version != root.signed.version + 1:
        raise ValueError("not the root that follows")
    for holder in (root, following):
        holder.signed.verify_delegate(Root.type, following.signed_bytes, following.signatures)
    return following
