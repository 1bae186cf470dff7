"""The catalogue of versions: the database's list, which follows the TUF repository.

A version becomes a target first and a row second. A manager that is killed between the two catches up when it starts.
"""

from __future__ import annotations

import logging

from tuf.api.metadata import Targets

from edgemm.bundle.manifest import Manifest, decode_manifest
from edgemm.canonical import sha256
from edgemm.trust.signing import key_document
from edgemm_fleet.records.records import ModelRecord, VersionRecord
from edgemm_fleet.store import models
from edgemm_fleet.store.database import Store, Transaction
from edgemm_fleet.trust import roles
from edgemm_fleet.trust.model_role import minimum_version, withdrawn_of
from edgemm_fleet.trust.publication import Publication
from edgemm_fleet.trust.version_repository import VersionRepository

logger = logging.getLogger(__name__)


def record_version(
    tx: Transaction, repository: VersionRepository, publication: Publication, *, actor: str, now: float
) -> VersionRecord:
    """Record a version that is a target; the same again changes nothing."""
    manifest, role = publication.manifest, publication.role.signed
    return _record(tx, repository, manifest, digest=sha256(publication.manifest_bytes), role=role, actor=actor, now=now)


def follow(tx: Transaction, repository: VersionRepository, model: str, *, now: float) -> list[str]:
    """Note what a model's role says of withdrawn versions and of the minimum; return the versions that were offered."""
    role = repository.role(model)
    if role is None:
        return []
    models.set_minimum_version(tx, model, minimum_version(role.signed))
    offered = models.offered_among(tx, model, withdrawn_of(role.signed))
    models.withdraw(tx, model, [one.version for one in offered], now=now)
    return [one.version for one in offered]


def catch_up(store: Store, repository: VersionRepository, *, now: float) -> int:
    """Record every version that is a target but not in the database; returns how many there were.

    What was withdrawn is noted too.
    """
    missing = 0
    for model in roles.models(repository.targets):
        role = repository.role(model)
        for target in role.signed.targets.values() if role else ():
            version = roles.target_version(target.path)
            with store.read() as tx:
                if models.find_version(tx, model, version) is not None:
                    continue
            data = repository.manifest_bytes(target)
            manifest = decode_manifest(data, path=target.path)
            assert role is not None
            with store.write() as tx:
                _record(tx, repository, manifest, digest=sha256(data), role=role.signed, actor="catch-up", now=now)
            logger.warning("caught up model=%s version=%s", model, version)
            missing += 1
        if role is not None:
            _catch_up_withdrawn(store, repository, model, role.signed, now=now)
    return missing


def _catch_up_withdrawn(store: Store, repository: VersionRepository, model: str, role: Targets, *, now: float) -> None:
    with store.read() as tx:
        known = models.find_model(tx, model)
        offered = models.offered_among(tx, model, withdrawn_of(role))
    if known is None or (not offered and known.minimum_version == minimum_version(role)):
        return
    with store.write() as tx:
        found = follow(tx, repository, model, now=now)
    logger.warning("caught up model=%s withdrawn=%s minimum=%s", model, found, minimum_version(role))


def _record(
    tx: Transaction,
    repository: VersionRepository,
    manifest: Manifest,
    *,
    digest: str,
    role: Targets,
    actor: str,
    now: float,
) -> VersionRecord:
    if models.find_model(tx, manifest.name) is None:
        delegations = repository.targets.delegations
        assert delegations is not None
        key = delegations.keys[roles.model_keys(repository.targets, manifest.name)[0]]
        model = ModelRecord(name=manifest.name, publisher=key_document(key), minimum_version=None, created_at=now)
        models.add_model(tx, model)
    latest = repository.role(manifest.name)  # of two that were published at once, the later one may be recorded first
    models.set_minimum_version(tx, manifest.name, minimum_version(latest.signed if latest else role))
    for blob, facts in manifest.blobs.items():
        models.add_blob(tx, blob, size_bytes=facts.size, now=now)
    record = VersionRecord(
        model=manifest.name,
        version=manifest.version,
        digest=digest,
        size_bytes=sum(facts.size for facts in manifest.blobs.values()),
        published_by=actor,
        published_at=now,
    )
    models.add_version(tx, record, blob_digests=manifest.blobs)
    return models.get_version(tx, manifest.name, manifest.version)
