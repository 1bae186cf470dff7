"""The TUF documents of a small repository: one model, one version, minimum version 1.0.0."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tuf.api.metadata import Metadata, MetaFile

from edgemm import canonical
from edgemm.trust.signing import key_from_document
from edgemm.trust.time_statement import ISSUED
from edgemm_fleet.trust import publication, roles
from edgemm_fleet.trust.metadata_files import serialize
from edgemm_fleet.trust.roles import DEFAULT_LIFETIMES
from edgemm_runtime.agent.state.documents import DirectorFile
from tests.golden.vector import DIRECTOR, PUBLISHER, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, Vector
from tests.unit.core.bundles import small_manifest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_WHEN: dict[str, Any] = {"now": NOW, "lifetimes": DEFAULT_LIFETIMES}

_FILES = {"targets": MetaFile(2), "model-digits": MetaFile(1)}
DIRECTOR_DOCUMENT = roles.director_document("home", (DIRECTOR.public_key,))
_FIRST = roles.first_targets(DIRECTOR_DOCUMENT, TARGETS, **_WHEN)
ROLES: dict[str, Metadata[Any]] = {
    "root": roles.first_root({"root": ROOT, "targets": TARGETS, "snapshot": SNAPSHOT, "timestamp": TIMESTAMP}, **_WHEN),
    "targets": roles.authorise(_FIRST, "digits", PUBLISHER.public_key, signer=TARGETS, **_WHEN),
    "model-digits": publication.extend(None, small_manifest().encode(), minimum="1.0.0", signer=PUBLISHER, **_WHEN),
    "snapshot": roles.next_snapshot(None, _FILES, signer=SNAPSHOT, **_WHEN),
    "timestamp": roles.next_timestamp(None, 1, signer=TIMESTAMP, **_WHEN),
}


_ISSUED = {"root": ROOT, "targets": TARGETS}
"""Roles that say when they were signed, which earlier versions did not write, and who signs them."""


def _metadata(role: str) -> Vector:
    name = f"tuf/{role}-issued.json" if role in _ISSUED else f"tuf/{role}.json"
    return Vector(name, ROLES[role], serialize, Metadata.from_bytes)


def _earlier(role: str) -> Vector:
    metadata: Metadata[Any] = Metadata.from_bytes(serialize(ROLES[role]))
    del metadata.signed.unrecognized_fields[ISSUED]
    metadata.sign(_ISSUED[role])
    return Vector(f"tuf/{role}.json", metadata, None, Metadata.from_bytes)


def _read_director(data: bytes) -> Any:
    document = canonical.decode(data, DirectorFile, name="director.json")
    return document.fleet, [key_from_document(key) for key in document.keys]


def _write_director(value: Any) -> bytes:
    fleet, keys = value
    return roles.director_document(fleet, tuple(keys))


VECTORS = [
    *(_metadata(role) for role in ROLES),
    *(_earlier(role) for role in _ISSUED),
    Vector("tuf/director.json", ("home", [DIRECTOR.public_key]), _write_director, _read_director),
]
