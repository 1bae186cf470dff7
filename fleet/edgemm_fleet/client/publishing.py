"""The publishing of a bundle: verify it, upload missing blobs, sign with the publisher's key, hand it in.

The key is made at first use and never leaves this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import Metadata, Targets

from edgemm import durable, plain_text
from edgemm.bundle import Bundle, open_bundle
from edgemm.errors import ConflictError, InputError, NotFoundError
from edgemm.trust import signing
from edgemm_fleet.api.messages import (
    AuthorisationRequest,
    PublishRequest,
    RoleRequest,
    TargetsRequest,
    WithdrawalRequest,
    Withdrawn,
)
from edgemm_fleet.client.fleet import FleetClient
from edgemm_fleet.client.profile import locked, make_config_folder
from edgemm_fleet.client.trusted_versions import PublishedRoles
from edgemm_fleet.records.records import VersionRecord
from edgemm_fleet.trust import roles
from edgemm_fleet.trust.metadata_files import serialize
from edgemm_fleet.trust.model_role import minimum_version
from edgemm_fleet.trust.publication import extend, published_digest, renewed_role
from edgemm_fleet.trust.roles import DEFAULT_LIFETIMES, target_path
from edgemm_fleet.trust.withdrawal import withdrawal

_TRIES = 10
_KEY = "publisher.pem"
_PUBLIC_KEY = "publisher.pub.json"


@dataclass(frozen=True)
class Published:
    """What came of publishing: `uploaded_bytes` of blobs, and whether all of it had been there before."""

    record: VersionRecord
    uploaded_bytes: int
    existed: bool


def publisher_key() -> CryptoSigner:
    """Return this user's publishing key, made at first use; its public half lies beside it."""
    folder = make_config_folder()
    path = folder / _KEY
    with locked(folder):  # two commands at once would else make two keys, of which one is lost
        signer = signing.load_key(path) if path.exists() else signing.create_key(path)
        document = msgspec.json.encode(signing.key_document(signer.public_key))
        durable.write(folder / _PUBLIC_KEY, document + b"\n")
    return signer


def public_key_path() -> Path:
    """Return where the public half of the publishing key lies."""
    return make_config_folder() / _PUBLIC_KEY


def read_public_key(path: Path) -> Key:
    """Read a publisher's public key.

    Raises:
        InputError: the file is missing or holds none.
        TrustError: the key is of another kind.
    """
    try:
        data = plain_text.without_mark(path.read_bytes(), name=str(path))
        document = msgspec.json.decode(data, type=dict[str, object])
    except (OSError, msgspec.DecodeError) as err:
        raise InputError(f"{path}: expected a publisher's public key, a file like {_PUBLIC_KEY}: {err}") from err
    return signing.key_from_document(document)


def publish(client: FleetClient, path: Path, *, minimum: str | None, progress: Callable[[int, int], None]) -> Published:
    """Publish a bundle file; again is no error.

    `progress` is called with (bytes uploaded, bytes to upload).

    Raises:
        InputError: there is no such file, or the minimum version cannot be.
        BundleError: the bundle is damaged.
        ConflictError: this version is published with another content, or the targets key is offline.
        TrustError, RequestError, EnvironmentFailure: as `FleetClient`.
    """
    with open_bundle(path) as bundle:
        manifest = bundle.manifest
        signer = publisher_key()
        published = PublishedRoles(client.connection, client.profile.root)
        _authorise(client, published, manifest.name, signer.public_key)
        role, uploaded, tries = published.model(manifest.name), 0, 0
        while True:
            if _is_there(role, bundle, minimum) and (record := _existing(client, bundle)) is not None:
                return Published(record, uploaded, existed=not uploaded)
            following = extend(
                role,
                bundle.manifest_bytes,
                minimum=minimum,
                signer=signer,
                now=client.moment(),
                lifetimes=DEFAULT_LIFETIMES,
            )
            uploaded += _upload(client, bundle, progress)
            request = PublishRequest(manifest=bundle.manifest_bytes.decode(), role=serialize(following).decode())
            try:
                record = client.publish(manifest.name, manifest.version, request)
            except ConflictError:
                before, role, tries = role, published.model(manifest.name), tries + 1
                if role == before or tries == _TRIES:
                    raise
                continue  # another version was published meanwhile: this one follows it
            return Published(record, uploaded, existed=False)


def renew(client: FleetClient, model: str) -> None:
    """Sign a model's role anew with this user's key: the same versions, with a later expiry.

    Raises:
        InputError: nothing of the model is published.
        PermissionDeniedError: this key may not publish it.
        TrustError, RequestError, EnvironmentFailure: as `FleetClient`.
    """
    current = PublishedRoles(client.connection, client.profile.root).model(model)
    if current is None:
        raise InputError(f"model {model}: nothing of it is published")
    following = renewed_role(current, publisher_key(), now=client.moment(), lifetimes=DEFAULT_LIFETIMES)
    client.renew_role(model, RoleRequest(role=serialize(following).decode()))


def withdraw(
    client: FleetClient, model: str, versions: Sequence[str], *, minimum: str | None, force: bool
) -> Withdrawn:
    """Sign a model's role without some versions, or with another minimum version, by this user's key; hand it in.

    Raises:
        InputError: nothing of the model, or no such version, is published; or the minimum version cannot be.
        ConflictError: the versions are in use, and it is not forced.
        PermissionDeniedError: this key may not publish it, or this person is no administrator.
        TrustError, RequestError, EnvironmentFailure: as `FleetClient`.
    """
    published, tries = PublishedRoles(client.connection, client.profile.root), 0
    current = published.model(model)
    while True:
        if current is None:
            raise InputError(f"model {model}: nothing of it is published")
        following = withdrawal(
            current, model, versions,
            minimum=minimum, signer=publisher_key(), now=client.moment(), lifetimes=DEFAULT_LIFETIMES,
        )  # fmt: skip
        try:
            return client.withdraw(model, WithdrawalRequest(role=serialize(following).decode(), force=force))
        except ConflictError:
            before, current, tries = current, published.model(model), tries + 1
            if current == before or tries == _TRIES:
                raise  # else something was published meanwhile: this follows it


def deprive_offline(client: FleetClient, model: str, key_id: str, targets_keys: Sequence[Path]) -> None:
    """Let a key publish a model no more, by the targets keys on this machine; raises as `authorise_offline`."""
    signers = [signing.load_key(path) for path in targets_keys]
    current = PublishedRoles(client.connection, client.profile.root).targets()
    if key_id not in roles.model_keys(current.signed, model):
        raise InputError(f"model {model}: no key {key_id[:12]}… may publish it")
    following = roles.deprive(current, model, key_id, now=client.moment(), lifetimes=DEFAULT_LIFETIMES)
    for signer in signers:
        following.sign(signer, append=True)
    client.put_targets(TargetsRequest(targets=serialize(following).decode()))


def authorise_offline(client: FleetClient, model: str, key: Key, targets_keys: Sequence[Path]) -> None:
    """Let a key publish a model, by the targets keys on this machine.

    Raises:
        InputError: a file holds no key.
        TrustError, RequestError, EnvironmentFailure: as `FleetClient`.
    """
    signer, *others = [signing.load_key(path) for path in targets_keys]
    current = PublishedRoles(client.connection, client.profile.root).targets()
    if key.keyid in roles.model_keys(current.signed, model):
        return
    now = client.moment()
    following: Metadata[Targets] = roles.authorise(
        current, model, key, signer=signer, now=now, lifetimes=DEFAULT_LIFETIMES
    )
    for other in others:
        following.sign(other, append=True)
    client.put_targets(TargetsRequest(targets=serialize(following).decode()))


def tidy_offline(client: FleetClient, targets_keys: Sequence[Path]) -> list[str]:
    """Withdraw the authorisations that were never used, by the targets keys on this machine; return the models.

    Raises:
        InputError, TrustError, RequestError, EnvironmentFailure: as `authorise_offline`.
    """
    signers = [signing.load_key(path) for path in targets_keys]
    published = PublishedRoles(client.connection, client.profile.root)
    current = published.targets()
    names = published.unused()
    if names:
        following = roles.withdrawn(current, names, now=client.moment(), lifetimes=DEFAULT_LIFETIMES)
        for signer in signers:
            following.sign(signer, append=True)
        client.put_targets(TargetsRequest(targets=serialize(following).decode()))
    return names


def _authorise(client: FleetClient, published: PublishedRoles, model: str, key: Key) -> None:
    if key.keyid in roles.model_keys(published.targets().signed, model):
        return
    try:
        client.authorise(model, AuthorisationRequest(public_key=signing.key_document(key)))
    except ConflictError as err:
        raise ConflictError(f"{err} (your public key: {public_key_path()})") from err


def _is_there(role: Targets | None, bundle: Bundle, minimum: str | None) -> bool:
    path = target_path(bundle.manifest.name, bundle.manifest.version)
    same = published_digest(role, path) == bundle.digest
    return same and minimum in {None, minimum_version(role)}


def _existing(client: FleetClient, bundle: Bundle) -> VersionRecord | None:
    try:
        return client.version(bundle.manifest.name, bundle.manifest.version)
    except NotFoundError:
        return None


def _upload(client: FleetClient, bundle: Bundle, progress: Callable[[int, int], None]) -> int:
    sizes = {digest: bundle.manifest.blobs[digest].size for digest in client.missing_blobs(bundle.manifest.blobs)}
    total, done = sum(sizes.values()), 0
    for digest, size in sizes.items():

        def counted(digest: str = digest) -> Iterator[bytes]:
            nonlocal done
            for piece in bundle.chunks(digest):
                yield piece
                done += len(piece)
                progress(done, total)

        client.upload_blob(digest, counted(), size=size)
    return total
