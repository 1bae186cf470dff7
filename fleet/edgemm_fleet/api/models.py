"""The routes for models and their versions: publish a version, and let keys publish.

The publisher signs on its own machine. The server checks the signed role against what was published before, and the
blobs against the manifest. Only then does the version become a target that devices can see.
"""

from __future__ import annotations

from edgemm.bundle.bundle_limits import DEFAULT_LIMITS
from edgemm.bundle.manifest import Manifest, check_model_name, decode_manifest
from edgemm.canonical import sha256
from edgemm.errors import BadRequestError, ConflictError, NotFoundError, TooLargeError
from edgemm.trust.signing import key_document, key_from_document
from edgemm_fleet.api.context import FleetState, moment
from edgemm_fleet.api.messages import (
    Authorisation,
    AuthorisationRequest,
    ModelDetail,
    Nothing,
    PageQuery,
    PublishRequest,
    RoleRequest,
    TargetsRequest,
    Tidied,
    WithdrawalRequest,
    Withdrawn,
)
from edgemm_fleet.api.rights import Right
from edgemm_fleet.api.routes import Call, Route
from edgemm_fleet.records.records import ModelRecord, Page, VersionRecord
from edgemm_fleet.store import audit, models
from edgemm_fleet.trust import roles
from edgemm_fleet.trust.catalogue import follow, record_version
from edgemm_fleet.trust.model_role import minimum_version, read_role, withdrawn_of
from edgemm_fleet.trust.publication import Publication
from edgemm_fleet.trust.withdrawal import check_withdrawal

_NAMED = 10


def list_models(state: FleetState, call: Call[Nothing, PageQuery]) -> Page[ModelRecord]:
    """List the models by name."""
    with state.store.read() as tx:
        return models.page_models(tx, after=call.query.after, limit=call.query.limit)


def get_model(state: FleetState, call: Call[Nothing, Nothing]) -> ModelDetail:
    """Show one model, who may publish it, and its hundred highest versions."""
    name = call.path["model"]
    with state.store.read() as tx:
        model = models.find_model(tx, name)
        if model is None:
            raise NotFoundError(f"no model {name[:80]!r} here: `edgemm fleet models` lists them")
        versions = models.page_versions(tx, name).items
    key_ids = roles.model_keys(state.repository.targets, name)
    return ModelDetail(model=model, key_ids=key_ids, versions=versions)


def list_versions(state: FleetState, call: Call[Nothing, PageQuery]) -> Page[VersionRecord]:
    """List the versions of a model, the highest first."""
    with state.store.read() as tx:
        return models.page_versions(tx, call.path["model"], after=call.query.after, limit=call.query.limit)


def get_version(state: FleetState, call: Call[Nothing, Nothing]) -> VersionRecord:
    """Show one version of a model."""
    with state.store.read() as tx:
        return models.get_version(tx, call.path["model"], call.path["version"])


def authorise_publisher(state: FleetState, call: Call[AuthorisationRequest, Nothing]) -> Authorisation:
    """Let a key publish a model: the first one of a new model by any publisher, others by an administrator."""
    name = check_model_name(call.path["model"])
    key = key_from_document(call.body.public_key)
    state.repository.authorise(name, key, now=moment(call.now), by_admin=call.caller.is_admin)
    with state.store.write() as tx:
        if models.find_model(tx, name) is None:
            record = ModelRecord(name=name, publisher=key_document(key), minimum_version=None, created_at=call.now)
            models.add_model(tx, record)
        actor = call.caller.actor
        audit.add(tx, at=call.now, actor=actor, action="model.authorise", subject=name, detail=f"key {key.keyid}")
    return Authorisation(model=name, key_ids=roles.model_keys(state.repository.targets, name))


def deprive_publisher(state: FleetState, call: Call[Nothing, Nothing]) -> None:
    """Let a key publish a model no more, by the targets key on the server."""
    name, key_id = call.path["model"], call.path["key"]
    state.repository.deprive(name, key_id, now=moment(call.now))
    with state.store.write() as tx:
        actor = call.caller.actor
        audit.add(tx, at=call.now, actor=actor, action="model.deprive", subject=name, detail=f"key {key_id}")


def renew_role(state: FleetState, call: Call[RoleRequest, Nothing]) -> None:
    """Take over a model's role that a publisher signed anew, with the same versions."""
    name = call.path["model"]
    following = read_role(call.body.role.encode())
    state.repository.renew(name, following, now=moment(call.now))
    with state.store.write() as tx:
        detail = f"role version {following.signed.version}"
        audit.add(tx, at=call.now, actor=call.caller.actor, action="model.renew", subject=name, detail=detail)


def withdraw_versions(state: FleetState, call: Call[WithdrawalRequest, Nothing]) -> Withdrawn:
    """Withdraw versions of a model, or give it another minimum version, by a role that a publisher signed for that."""
    name, following = call.path["model"], read_role(call.body.role.encode())
    now, actor, force = call.now, call.caller.actor, call.body.force
    current = state.repository.role(name)
    if current != following:
        check_withdrawal(
            state.repository.targets, name, current.signed if current else None, following, now=moment(now)
        )
    asked = withdrawn_of(following.signed)
    with state.store.read() as tx:
        versions = models.offered_among(tx, name, asked)
    # What uses them ends first: a manager that is killed after it has done no harm.
    ended = state.rollouts.end_uses(name, versions, force=force, actor=actor, now=now)
    with state.store.write() as tx:  # nobody begins to use them in between
        state.rollouts.check_begun(tx, name, versions, since=ended, force=force, actor=actor, now=now)
        state.repository.withdraw(name, following, now=moment(now))
        gone = follow(tx, state.repository, name, now=now)
        minimum = minimum_version(following.signed)
        more = f" and {len(gone) - _NAMED:,} more" if len(gone) > _NAMED else ""
        detail = f"{', '.join(gone[:_NAMED]) or 'no version'}{more}; minimum version {minimum}"
        audit.add(tx, at=now, actor=actor, action="model.withdraw", subject=name, detail=detail)
    if force:  # whoever came to use them while others ended
        state.rollouts.end_uses(name, versions, force=True, actor=actor, now=now)
    state.rollouts.wake()
    return Withdrawn(
        model=name,
        versions=tuple(gone),
        minimum_version=minimum,
        halted=ended.rollouts,
        shadows_ended=ended.shadows.number,
        running=ended.running.named,
        running_count=ended.running.number,
    )


def tidy_models(state: FleetState, call: Call[Nothing, Nothing]) -> Tidied:
    """Have nobody publish the models any more that were authorised and never published; their names are free again."""
    names = state.repository.withdraw_unused(now=moment(call.now))
    with state.store.write() as tx:
        models.drop_unpublished(tx)
        detail = f"{len(names)} models"
        audit.add(tx, at=call.now, actor=call.caller.actor, action="model.tidy", subject="models", detail=detail)
    return Tidied(models=tuple(names))


def put_targets(state: FleetState, call: Call[TargetsRequest, Nothing]) -> None:
    """Take over a top-level targets role that was signed with the offline key."""
    following = read_role(call.body.targets.encode())
    state.repository.accept_targets(following, now=moment(call.now))
    known = frozenset(roles.models(following.signed))
    with state.store.write() as tx:
        models.drop_unpublished(tx, but=known)
        detail = f"version {following.signed.version}"
        audit.add(tx, at=call.now, actor=call.caller.actor, action="trust.targets", subject="targets", detail=detail)


def publish_version(state: FleetState, call: Call[PublishRequest, Nothing]) -> VersionRecord:
    """Publish a version; the same again is no error, another content under the same version is."""
    manifest_bytes = call.body.manifest.encode()
    manifest = _manifest(manifest_bytes, model=call.path["model"], version=call.path["version"])
    _check_blobs(state, manifest)
    publication = Publication(manifest, manifest_bytes, read_role(call.body.role.encode()))
    with state.store.read() as tx:
        found = models.find_version(tx, manifest.name, manifest.version)
    if found is not None and found.digest != sha256(manifest_bytes):
        raise ConflictError(
            f"{manifest.name} {manifest.version}: published with sha256 {found.digest[:12]}…, now given with another "
            "content; give the new one another version"
        )
    changed = state.repository.publish(publication, now=moment(call.now))
    with state.store.write() as tx:
        record = record_version(tx, state.repository, publication, actor=call.caller.actor, now=call.now)
        if changed:
            subject = f"{record.model} {record.version}"
            audit.add(tx, at=call.now, actor=call.caller.actor, action="model.publish", subject=subject)
    return record


def _manifest(data: bytes, *, model: str, version: str) -> Manifest:
    if len(data) > DEFAULT_LIMITS.max_manifest_bytes:
        raise TooLargeError(f"manifest: {len(data):,} bytes, the limit is {DEFAULT_LIMITS.max_manifest_bytes:,}")
    manifest = decode_manifest(data, path="manifest")
    if (manifest.name, manifest.version) != (model, version):
        raise BadRequestError(
            f"manifest: expected {model[:80]} {version[:80]}, as the address says, "
            f"found {manifest.name} {manifest.version}"
        )
    return manifest


def _check_blobs(state: FleetState, manifest: Manifest) -> None:
    for digest, blob in manifest.blobs.items():
        if not state.blobs.has(digest):
            raise BadRequestError(f"blob {digest[:12]}… of {manifest.name} {manifest.version} is not here: upload it")
        if (found := state.blobs.path(digest).stat().st_size) != blob.size:
            raise BadRequestError(f"blob {digest[:12]}…: the manifest says {blob.size} bytes, it has {found}")


_MODEL = "/api/v1/models/<model>"
ROUTES = (
    Route("GET", "/api/v1/models", list_models, Right.READ, Page[ModelRecord], query=PageQuery),
    Route("GET", _MODEL, get_model, Right.READ, ModelDetail),
    Route("GET", f"{_MODEL}/versions", list_versions, Right.READ, Page[VersionRecord], query=PageQuery),
    Route("GET", f"{_MODEL}/versions/<version>", get_version, Right.READ, VersionRecord),
    Route(
        "POST",
        f"{_MODEL}/authorization",
        authorise_publisher,
        Right.PUBLISH,
        Authorisation,
        body=AuthorisationRequest,
    ),
    Route("DELETE", f"{_MODEL}/authorization/<key>", deprive_publisher, Right.ADMIN, Nothing, status=204),
    Route("PUT", f"{_MODEL}/role", renew_role, Right.PUBLISH, Nothing, body=RoleRequest, status=204, large_body=True),
    Route(
        "PUT",
        f"{_MODEL}/withdrawal",
        withdraw_versions,
        Right.ADMIN,
        Withdrawn,
        body=WithdrawalRequest,
        large_body=True,
    ),
    Route(
        "PUT",
        f"{_MODEL}/versions/<version>",
        publish_version,
        Right.PUBLISH,
        VersionRecord,
        body=PublishRequest,
        large_body=True,
    ),
    Route("POST", "/api/v1/trust/tidy", tidy_models, Right.ADMIN, Tidied),
    Route(
        "PUT",
        "/api/v1/trust/targets",
        put_targets,
        Right.ADMIN,
        Nothing,
        body=TargetsRequest,
        status=204,
        large_body=True,
    ),
)
