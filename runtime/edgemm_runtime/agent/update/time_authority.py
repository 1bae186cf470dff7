"""The authority to state the time: the timestamp role of the newest verified root, and how low it may go. Pure."""

from __future__ import annotations

from msgspec import Struct
from securesystemslib.signer import Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from edgemm.trust.time_statement import issue_time_s


class TimeAuthority(Struct, frozen=True):
    """Who may state the time: so many of these keys; none is believed that is below `least_s` (0: no such bound)."""

    keys: tuple[Key, ...]
    threshold: int
    least_s: float


def time_authority(root: Root, targets: bytes | None) -> TimeAuthority:
    """Return the authority of a verified root; `targets` is the newest targets metadata that this device has verified.

    It is verified once more, for it comes from a disk; what a later root does not vouch for sets no bound.
    """
    role = root.get_delegated_role(Timestamp.type)
    keys = tuple(root.get_key(keyid) for keyid in role.keyids)
    issued = [issue_time_s(root.unrecognized_fields)]
    if targets is not None and (found := _verified(root, targets)) is not None:
        issued.append(issue_time_s(found.unrecognized_fields))
    return TimeAuthority(keys, role.threshold, float(max(issued)))


def _verified(root: Root, data: bytes) -> Targets | None:
    try:
        metadata: Metadata[Targets] = Metadata.from_bytes(data)
        root.verify_delegate(Targets.type, metadata.signed_bytes, metadata.signatures)
    except (DeserializationError, RepositoryError, ValueError):
        return None
    return metadata.signed
