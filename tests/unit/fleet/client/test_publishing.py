"""Publishing over the real API, and devices that see it through python-tuf's own client."""

import re
import time
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import pytest
from tuf.api.exceptions import ExpiredMetadataError, RepositoryError
from tuf.ngclient import Updater

from edgemm.bundle import open_bundle
from edgemm.canonical import sha256
from edgemm.errors import (
    BadRequestError,
    ConflictError,
    DamagedBundleError,
    EnvironmentFailure,
    InputError,
    PermissionDeniedError,
    TrustError,
)
from edgemm.trust.signing import key_document
from edgemm_fleet.api.messages import AuthorisationRequest, PublishRequest
from edgemm_fleet.client import FleetClient, publishing
from edgemm_fleet.client.profile import config_folder
from edgemm_fleet.client.publishing import authorise_offline, publish, publisher_key, read_public_key
from edgemm_fleet.client.trusted_versions import PublishedRoles, _Fetcher
from edgemm_fleet.store import models
from edgemm_fleet.trust.catalogue import catch_up
from edgemm_fleet.trust.version_repository import VersionRepository
from tests.golden.unknown import BUNDLES, path_of
from tests.unit.core.bundles import CONTENT, small_bundle
from tests.unit.fleet.api.servers import RunningFleet, now_utc, serving


class _Clock:
    """Stands for the module `time`, so far ahead."""

    def __init__(self, ahead_s: float) -> None:
        self._ahead_s = ahead_s

    def time(self) -> float:
        return time.time() + self._ahead_s


def quiet(done: int, total: int) -> None:
    pass


def bundle(folder: Path, **changes: object) -> Path:
    path = folder / f"{len(list(folder.glob('*.edgemm')))}.edgemm"
    small_bundle(path, **changes)
    return path


def device(client: FleetClient, state: Path) -> Updater:
    """python-tuf's own client against the server's files."""
    state.mkdir(exist_ok=True)
    return Updater(
        metadata_dir=str(state),
        metadata_base_url=f"{client.profile.url}/tuf/metadata/",
        target_dir=str(state),
        target_base_url=f"{client.profile.url}/tuf/targets/",
        fetcher=_Fetcher(client.connection),
        bootstrap=client.profile.root.encode(),
    )


@pytest.mark.parametrize("days", [-700, 1])
def test_a_publisher_with_another_clock_signs_nothing(
    publisher: FleetClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    there = _Clock(days * 86400)
    monkeypatch.setattr("edgemm_fleet.client.api_connection.time", there)
    with pytest.raises(EnvironmentFailure, match="the clock of this machine shows .*: set the wrong one"):
        publish(publisher, bundle(tmp_path), minimum=None, progress=quiet)
    assert PublishedRoles(publisher.connection, publisher.profile.root).model("digits") is None


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_of_a_later_version_is_published_as_it_is(
    fleet: RunningFleet, publisher: FleetClient, tmp_path: Path, name: str
) -> None:
    path = path_of(name)
    published = publish(publisher, path, minimum=None, progress=quiet)
    with open_bundle(path) as opened:
        manifest_bytes, digest = opened.manifest_bytes, opened.digest
        variants = [variant.id for variant in opened.manifest.variants]
    assert published.uploaded_bytes > 0
    [record] = publisher.versions("tiny")
    assert (record.version, record.digest) == ("1.0.0", digest)
    assert [variant.id for variant in fleet.state.repository.manifest("tiny", "1.0.0").variants] == variants
    updater = device(publisher, tmp_path / "device")
    target = updater.get_targetinfo("models/tiny/1.0.0.json")
    assert target is not None
    assert Path(updater.download_target(target, str(tmp_path / "m.json"))).read_bytes() == manifest_bytes


def test_a_published_bundle_reaches_a_device(publisher: FleetClient, tmp_path: Path) -> None:
    path = bundle(tmp_path)
    published = publish(publisher, path, minimum="0.5.0", progress=quiet)
    assert published.uploaded_bytes == sum(map(len, CONTENT.values()))
    updater = device(publisher, tmp_path / "device")
    target = updater.get_targetinfo("models/digits/1.0.0.json")
    assert target is not None
    assert target.custom == {"minimum_version": "0.5.0"}
    manifest = Path(updater.download_target(target)).read_bytes()
    assert sha256(manifest) == published.record.digest == target.hashes["sha256"]
    for data in CONTENT.values():
        blob = b"".join(publisher.connection.stream(f"/api/v1/blobs/{sha256(data)}"))
        assert blob == data


def test_publishing_again_uploads_and_changes_nothing(
    fleet: RunningFleet, publisher: FleetClient, tmp_path: Path
) -> None:
    path = bundle(tmp_path)
    first = publish(publisher, path, minimum=None, progress=quiet)
    before = {p.name: p.read_bytes() for p in fleet.folder.metadata.iterdir()}
    again = publish(publisher, path, minimum=None, progress=quiet)
    assert again.existed
    assert again.record == first.record
    assert {p.name: p.read_bytes() for p in fleet.folder.metadata.iterdir()} == before


def test_the_next_version_uploads_only_what_is_new(publisher: FleetClient, tmp_path: Path) -> None:
    publish(publisher, bundle(tmp_path), minimum=None, progress=quiet)
    second = publish(publisher, bundle(tmp_path, version="1.1.0"), minimum="1.0.0", progress=quiet)
    assert second.uploaded_bytes == 0
    assert [v.version for v in publisher.versions("digits")] == ["1.1.0", "1.0.0"]
    assert publisher.model("digits").model.minimum_version == "1.0.0"


def test_the_minimum_version_can_be_raised_alone(publisher: FleetClient, tmp_path: Path) -> None:
    path = bundle(tmp_path)
    publish(publisher, path, minimum=None, progress=quiet)
    publish(publisher, path, minimum="1.0.0", progress=quiet)
    target = device(publisher, tmp_path / "device").get_targetinfo("models/digits/1.0.0.json")
    assert target is not None
    assert target.custom == {"minimum_version": "1.0.0"}


def test_the_same_version_with_another_content_is_a_conflict(publisher: FleetClient, tmp_path: Path) -> None:
    publish(publisher, bundle(tmp_path), minimum=None, progress=quiet)
    with pytest.raises(ConflictError, match=r"digits 1\.0\.0 is published with another content"):
        publish(publisher, bundle(tmp_path, licence="MIT"), minimum=None, progress=quiet)


def test_the_server_answers_409_to_whoever_does_not_check(publisher: FleetClient, tmp_path: Path) -> None:
    publish(publisher, bundle(tmp_path), minimum=None, progress=quiet)
    other = small_bundle(tmp_path / "other.edgemm", licence="MIT")
    role = (tmp_path / "fleet" / "tuf" / "metadata" / "1.model-digits.json").read_text()
    with pytest.raises(ConflictError, match="give the new one another version"):
        publisher.publish("digits", "1.0.0", PublishRequest(manifest=other.encode().decode(), role=role))


def test_a_damaged_bundle_publishes_nothing(fleet: RunningFleet, publisher: FleetClient, tmp_path: Path) -> None:
    path = bundle(tmp_path)
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedBundleError):
        publish(publisher, path, minimum=None, progress=quiet)
    assert list(fleet.folder.blobs.iterdir()) == []
    with pytest.raises(InputError, match="cannot open bundle"):
        publish(publisher, tmp_path / "nothing.edgemm", minimum=None, progress=quiet)


def test_a_version_without_its_blobs_is_refused(fleet: RunningFleet, publisher: FleetClient, tmp_path: Path) -> None:
    path = bundle(tmp_path)
    publisher.missing_blobs = lambda digests: ()  # type: ignore[method-assign]  # a client that does not ask
    with pytest.raises(BadRequestError, match="is not here: upload it"):
        publish(publisher, path, minimum=None, progress=quiet)
    assert not list(fleet.folder.metadata.glob("*model-digits*"))


def test_a_manifest_must_be_the_one_of_its_address(publisher: FleetClient, tmp_path: Path) -> None:
    manifest = small_bundle(tmp_path / "b.edgemm")
    with pytest.raises(BadRequestError, match=r"expected words 2\.0\.0, as the address says, found digits 1\.0\.0"):
        publisher.publish("words", "2.0.0", PublishRequest(manifest=manifest.encode().decode(), role="{}"))
    with pytest.raises(BadRequestError, match="is not a manifest"):
        publisher.publish("digits", "1.0.0", PublishRequest(manifest="{}", role="{}"))


def test_another_publisher_needs_an_administrator(
    fleet: RunningFleet, publisher: FleetClient, admin: FleetClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(publisher, bundle(tmp_path), minimum=None, progress=quiet)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "second"))
    path = bundle(tmp_path, version="1.1.0")
    with pytest.raises(PermissionDeniedError, match="another key publishes it; an administrator may add yours"):
        publish(publisher, path, minimum=None, progress=quiet)
    publish(admin, path, minimum=None, progress=quiet)
    assert len(publisher.model("digits").key_ids) == 2


def test_with_the_targets_key_offline_the_command_that_helps_is_named_and_works(
    fleet: RunningFleet, publisher: FleetClient, admin: FleetClient, tmp_path: Path
) -> None:
    key = tmp_path / "usb-stick.pem"
    fleet.folder.offline_key("targets").rename(key)
    path = bundle(tmp_path)
    with pytest.raises(ConflictError) as caught:
        publish(publisher, path, minimum=None, progress=quiet)
    assert "edgemm fleet models authorize digits --publisher-key PUB --targets-key FILE" in str(caught.value)
    named = re.search(r"your public key: (\S+)\)", str(caught.value))
    assert named is not None
    public = Path(named[1])
    authorise_offline(admin, "digits", read_public_key(public), [key])
    assert not publish(publisher, path, minimum=None, progress=quiet).existed


@pytest.mark.parametrize("offline", [False, True], ids=["targets key here", "targets key elsewhere"])
def test_a_lost_publishing_key_is_replaced_by_another_publishers(
    fleet: RunningFleet,
    publisher: FleetClient,
    admin: FleetClient,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    offline: bool,
) -> None:
    publish(publisher, bundle(tmp_path), minimum=None, progress=quiet)
    lost = publisher_key().public_key.keyid
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "second"))
    new = publisher_key().public_key
    with pytest.raises(PermissionDeniedError, match="not signed by a key that may publish it"):
        publishing.renew(publisher, "digits")
    admin.authorise("digits", AuthorisationRequest(public_key=key_document(new)))
    key = tmp_path / "usb-stick.pem"
    if offline:
        fleet.folder.offline_key("targets").rename(key)

    def deprive() -> None:
        if offline:
            publishing.deprive_offline(admin, "digits", lost, [key])
        else:
            admin.deprive("digits", lost)

    with pytest.raises(ConflictError, match="edgemm fleet models renew digits"):
        deprive()
    publishing.renew(publisher, "digits")
    deprive()
    assert publisher.model("digits").key_ids == (new.keyid,)
    assert device(publisher, tmp_path / "device").get_targetinfo("models/digits/1.0.0.json") is not None
    publish(publisher, bundle(tmp_path, version="2.0.0"), minimum=None, progress=quiet)
    with pytest.raises(InputError, match="nothing of it is published"):
        publishing.renew(publisher, "other")


def test_a_publishing_key_is_the_users_alone(publisher: FleetClient, tmp_path: Path) -> None:
    publisher_key()
    files = {path.name: path.stat().st_mode & 0o777 for path in config_folder().iterdir() if path.is_file()}
    assert files == {"publisher.pem": 0o600, "publisher.pub.json": 0o644}
    assert config_folder().stat().st_mode & 0o777 == 0o700


def test_a_server_of_another_root_gets_no_signature(
    fleet: RunningFleet, publisher: FleetClient, tmp_path: Path
) -> None:
    with serving(tmp_path / "other") as other:
        stranger = FleetClient(other.profile("publisher"))
        stranger.profile = publisher.profile
        with pytest.raises(TrustError, match="does not follow from the root that was pinned at login"):
            publish(stranger, bundle(tmp_path), minimum=None, progress=quiet)
        stranger.close()


def test_a_role_that_a_server_tampered_with_is_not_extended(
    fleet: RunningFleet, publisher: FleetClient, tmp_path: Path
) -> None:
    publish(publisher, bundle(tmp_path), minimum=None, progress=quiet)
    role = fleet.folder.metadata / "1.model-digits.json"
    role.write_bytes(role.read_bytes().replace(b'"minimum_version":"0.0.0"', b'"minimum_version":"0.0.1"'))
    for cached in config_folder().glob("tuf/*/model-digits.json"):
        cached.unlink()
    with pytest.raises(TrustError, match="nothing was signed"):
        publish(publisher, bundle(tmp_path, version="1.1.0"), minimum=None, progress=quiet)


def test_a_role_older_than_one_seen_before_is_not_extended(
    fleet: RunningFleet, publisher: FleetClient, tmp_path: Path
) -> None:
    publish(publisher, bundle(tmp_path), minimum=None, progress=quiet)
    timestamp = fleet.folder.metadata / "timestamp.json"
    old = timestamp.read_bytes()
    publish(publisher, bundle(tmp_path, version="1.1.0"), minimum=None, progress=quiet)
    PublishedRoles(publisher.connection, publisher.profile.root).targets()
    timestamp.write_bytes(old)
    with pytest.raises(TrustError, match="nothing was signed"):
        publish(publisher, bundle(tmp_path, version="1.2.0"), minimum=None, progress=quiet)


def test_a_tampered_file_is_refused_by_a_device(fleet: RunningFleet, publisher: FleetClient, tmp_path: Path) -> None:
    publish(publisher, bundle(tmp_path), minimum=None, progress=quiet)
    target = next((fleet.folder.targets / "models" / "digits").iterdir())
    target.write_bytes(target.read_bytes()[:-1] + b" ")
    updater = device(publisher, tmp_path / "device")
    with pytest.raises(RepositoryError):
        signed = updater.get_targetinfo("models/digits/1.0.0.json")
        assert signed is not None
        updater.download_target(signed)


def test_a_frozen_repository_is_noticed_after_a_day_and_a_refreshed_one_is_not(
    fleet: RunningFleet, publisher: FleetClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = now_utc() + timedelta(days=2)
    updater = device(publisher, tmp_path / "device")
    updater._trusted_set.reference_time = later
    with pytest.raises(ExpiredMetadataError):
        updater.refresh()
    fleet.state.repository.refresh(now=later)
    updater = device(publisher, tmp_path / "device")
    updater._trusted_set.reference_time = later
    updater.refresh()


def test_a_manager_killed_between_target_and_database_catches_up(
    fleet: RunningFleet, publisher: FleetClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgemm_fleet.api import models as api_models

    class KilledError(Exception):
        pass

    def killed(*args: object, **kwargs: object) -> NoReturn:
        raise KilledError

    path = bundle(tmp_path)
    monkeypatch.setattr(api_models, "record_version", killed)
    with pytest.raises(Exception, match="this server failed"):
        publish(publisher, path, minimum=None, progress=quiet)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    repository = VersionRepository(fleet.folder)
    assert catch_up(fleet.state.store, repository, now=fleet.clock()) == 1
    assert catch_up(fleet.state.store, repository, now=fleet.clock()) == 0
    with fleet.state.store.read() as tx:
        assert models.get_version(tx, "digits", "1.0.0").published_by == "catch-up"
    assert publish(publisher, path, minimum=None, progress=quiet).existed


def test_progress_counts_up_to_the_total(publisher: FleetClient, tmp_path: Path) -> None:
    steps = []
    publish(publisher, bundle(tmp_path), minimum=None, progress=lambda done, total: steps.append((done, total)))
    total = sum(map(len, CONTENT.values()))
    assert steps[-1] == (total, total)
    assert steps == sorted(steps)
    assert publishing.public_key_path().exists()
