import copy
import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import BadVersionNumberError, RepositoryError
from tuf.api.metadata import Metadata

from edgemm import durable
from edgemm.canonical import sha256
from edgemm.errors import BadRequestError, ConflictError, InputError, PermissionDeniedError
from edgemm.trust.signing import key_from_document, load_key
from edgemm_fleet.trust import roles
from edgemm_fleet.trust.metadata_files import serialize
from edgemm_fleet.trust.model_role import read_role
from edgemm_fleet.trust.publication import Publication, extend
from edgemm_fleet.trust.roles import DEFAULT_LIFETIMES
from edgemm_fleet.trust.version_repository import VersionRepository
from tests.unit.fleet.trust.repositories import NOW, device, publication


def test_a_device_finds_the_director_in_a_new_repository(repository: VersionRepository, tmp_path: Path) -> None:
    updater = device(repository.folder, tmp_path / "device")
    target = updater.get_targetinfo("director.json")
    assert target is not None
    document = json.loads(Path(updater.download_target(target)).read_bytes())
    assert document["v"] == 1
    assert document["fleet"] == "plant"
    director = load_key(repository.folder.online_key("director"))
    assert [key_from_document(key).keyid for key in document["keys"]] == [director.public_key.keyid]


def test_a_device_downloads_a_published_manifest_with_its_minimum_version(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    new = publication(repository, tmp_path, publisher, minimum="0.9.0")
    assert repository.publish(new, now=NOW)
    updater = device(repository.folder, tmp_path / "device")
    target = updater.get_targetinfo("models/digits/1.0.0.json")
    assert target is not None
    assert target.custom == {"minimum_version": "0.9.0"}
    assert target.hashes == {"sha256": sha256(new.manifest_bytes)}
    assert Path(updater.download_target(target)).read_bytes() == new.manifest_bytes


def test_the_minimum_version_stands_on_all_targets_of_the_role(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    repository.publish(publication(repository, tmp_path, publisher), now=NOW)
    repository.publish(publication(repository, tmp_path, publisher, version="2.0.0", minimum="1.5.0"), now=NOW)
    repository.publish(publication(repository, tmp_path, publisher, version="2.1.0"), now=NOW)
    updater = device(repository.folder, tmp_path / "device")
    for version in ("1.0.0", "2.0.0", "2.1.0"):
        target = updater.get_targetinfo(f"models/digits/{version}.json")
        assert target is not None
        assert target.custom == {"minimum_version": "1.5.0"}


def test_publishing_the_same_again_changes_nothing(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    new = publication(repository, tmp_path, publisher)
    assert repository.publish(new, now=NOW)
    before = sorted(repository.folder.metadata.iterdir())
    assert not repository.publish(new, now=NOW)
    assert sorted(repository.folder.metadata.iterdir()) == before


def test_a_version_cannot_be_published_with_other_content(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    repository.publish(publication(repository, tmp_path, publisher), now=NOW)
    with pytest.raises(ConflictError, match=r"digits 1\.0\.0 is published with another content"):
        publication(repository, tmp_path, publisher, licence="MIT")


def test_the_server_refuses_a_role_that_changes_a_published_target(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    repository.publish(publication(repository, tmp_path, publisher), now=NOW)
    new = publication(repository, tmp_path, publisher, version="1.1.0")
    new.role.signed.targets["models/digits/1.0.0.json"].hashes["sha256"] = "0" * 64
    new.role.sign(publisher)
    with pytest.raises(ConflictError, match=r"models/digits/1\.0\.0\.json: it is published and cannot change"):
        repository.publish(new, now=NOW)


def test_the_server_refuses_a_role_that_drops_a_published_target(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    repository.publish(publication(repository, tmp_path, publisher), now=NOW)
    new = publication(repository, tmp_path, publisher, version="1.1.0")
    del new.role.signed.targets["models/digits/1.0.0.json"]
    new.role.sign(publisher)
    with pytest.raises(ConflictError, match="cannot change"):
        repository.publish(new, now=NOW)


def test_only_the_authorised_key_publishes(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    thief = CryptoSigner.generate_ed25519()
    with pytest.raises(PermissionDeniedError, match="not signed by a key that may publish it"):
        repository.publish(publication(repository, tmp_path, thief), now=NOW)


def test_a_model_that_was_never_authorised_is_refused(repository: VersionRepository, tmp_path: Path) -> None:
    with pytest.raises(PermissionDeniedError, match="fleet models authorize digits"):
        repository.publish(publication(repository, tmp_path, CryptoSigner.generate_ed25519()), now=NOW)


def test_two_publishers_at_once_do_not_lose_a_version(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    first = publication(repository, tmp_path, publisher)
    second = publication(repository, tmp_path, publisher, version="1.1.0")
    repository.publish(first, now=NOW)
    with pytest.raises(ConflictError, match="expected version 2, found 1"):
        repository.publish(second, now=NOW)
    again = publication(repository, tmp_path, publisher, version="1.1.0")
    assert repository.publish(again, now=NOW)
    assert sorted(t.path for t in repository.published()) == ["models/digits/1.0.0.json", "models/digits/1.1.0.json"]


def test_the_signed_hash_must_be_the_manifests(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    new = publication(repository, tmp_path, publisher)
    other = publication(repository, tmp_path, publisher, licence="MIT")
    with pytest.raises(BadRequestError, match="hash and length are not the manifest's"):
        repository.publish(Publication(new.manifest, new.manifest_bytes, other.role), now=NOW)


def test_the_target_path_must_follow_from_the_manifest(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    new = publication(repository, tmp_path, publisher)
    other = publication(repository, tmp_path, publisher, version="3.0.0")
    with pytest.raises(BadRequestError, match=r"expected models/digits/1\.0\.0\.json alone to be new"):
        repository.publish(Publication(new.manifest, new.manifest_bytes, other.role), now=NOW)


def test_the_minimum_version_never_goes_down_and_never_above_what_is_published(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    repository.publish(publication(repository, tmp_path, publisher, minimum="0.9.0"), now=NOW)
    with pytest.raises(InputError, match=r"expected at least 0\.9\.0"):
        publication(repository, tmp_path, publisher, version="1.1.0", minimum="0.8.0")
    with pytest.raises(InputError, match=r"expected at most 1\.1\.0"):
        publication(repository, tmp_path, publisher, version="1.1.0", minimum="2.0.0")


def test_the_server_checks_the_minimum_too(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    repository.publish(publication(repository, tmp_path, publisher, minimum="0.9.0"), now=NOW)
    new = publication(repository, tmp_path, publisher, version="1.1.0")
    for target in new.role.signed.targets.values():
        target.unrecognized_fields["custom"] = {"minimum_version": "0.1.0"}
    new.role.sign(publisher)
    with pytest.raises(BadRequestError, match=r"expected at least 0\.9\.0"):
        repository.publish(new, now=NOW)


def test_a_minimum_version_that_is_no_version_is_refused(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    new = publication(repository, tmp_path, publisher)
    for target in new.role.signed.targets.values():
        target.unrecognized_fields["custom"] = {"minimum_version": "newest"}
    new.role.sign(publisher)
    with pytest.raises(BadRequestError, match="expected MAJOR"):
        repository.publish(new, now=NOW)


def test_an_expired_role_is_refused(repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path) -> None:
    new = publication(repository, tmp_path, publisher)
    with pytest.raises(BadRequestError, match="expired"):
        repository.publish(new, now=NOW + timedelta(days=4000))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"signatures": [], "signed": {"_type": "targets"}}'])
def test_what_is_no_role_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequestError, match="expected TUF targets metadata"):
        read_role(data)


def test_metadata_of_another_role_is_no_targets_role(repository: VersionRepository) -> None:
    with pytest.raises(BadRequestError, match="expected targets, found root"):
        read_role(repository.root_bytes)


def test_without_the_targets_key_the_answer_says_which_command_to_run(repository: VersionRepository) -> None:
    repository.folder.offline_key("targets").unlink()
    with pytest.raises(ConflictError, match="edgemm fleet models authorize digits --publisher-key PUB --targets-key"):
        repository.authorise("digits", CryptoSigner.generate_ed25519().public_key, now=NOW)


def test_a_targets_role_that_was_signed_offline_is_taken_over(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    signer = load_key(repository.folder.offline_key("targets"))
    repository.folder.offline_key("targets").unlink()
    key = CryptoSigner.generate_ed25519()
    following = roles.authorise(
        Metadata(repository.targets), "words", key.public_key, signer=signer, now=NOW, lifetimes=DEFAULT_LIFETIMES
    )
    repository.accept_targets(following, now=NOW)
    assert repository.publish(publication(repository, tmp_path, key, name="words"), now=NOW)
    assert device(repository.folder, tmp_path / "device").get_targetinfo("models/words/1.0.0.json")


def test_a_targets_role_by_another_key_or_of_another_version_is_refused(repository: VersionRepository) -> None:
    key = CryptoSigner.generate_ed25519()
    following = roles.authorise(
        Metadata(repository.targets), "words", key.public_key, signer=key, now=NOW, lifetimes=DEFAULT_LIFETIMES
    )
    with pytest.raises(PermissionDeniedError, match="not signed by the targets key"):
        repository.accept_targets(following, now=NOW)
    signer = load_key(repository.folder.offline_key("targets"))
    following.signed.version = 7
    following.sign(signer)
    with pytest.raises(ConflictError, match="expected version 2, found 7"):
        repository.accept_targets(following, now=NOW)


def test_a_targets_role_larger_than_devices_take_is_refused(repository: VersionRepository) -> None:
    following = Metadata(copy.deepcopy(repository.targets))
    following.signed.version += 1
    following.signed.unrecognized_fields["x-much"] = "a" * 4_000_000
    following.sign(load_key(repository.folder.offline_key("targets")))
    with pytest.raises(ConflictError, match="the limit is 4,000,000"):
        repository.accept_targets(following, now=NOW)


def test_a_targets_role_without_the_director_is_refused(repository: VersionRepository) -> None:
    following = roles.authorise(
        Metadata(repository.targets),
        "words",
        CryptoSigner.generate_ed25519().public_key,
        signer=load_key(repository.folder.offline_key("targets")),
        now=NOW,
        lifetimes=DEFAULT_LIFETIMES,
    )
    following.signed.targets.clear()
    following.sign(load_key(repository.folder.offline_key("targets")))
    with pytest.raises(BadRequestError, match="the same targets"):
        repository.accept_targets(following, now=NOW)


def test_snapshot_and_timestamp_are_signed_again_before_they_expire(
    repository: VersionRepository, tmp_path: Path
) -> None:
    assert not repository.refresh(now=NOW + timedelta(hours=11))
    assert repository.refresh(now=NOW + timedelta(hours=13))
    assert not repository.refresh(now=NOW + timedelta(hours=14))
    snapshot = repository._state.snapshot.signed.version
    assert repository.refresh(now=NOW + timedelta(days=4))
    assert repository._state.snapshot.signed.version > snapshot
    assert VersionRepository(repository.folder)._state == repository._state
    device(repository.folder, tmp_path / "device").refresh()


def test_devices_go_on_with_a_manager_that_was_restored_from_a_backup(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    repository.publish(publication(repository, tmp_path, publisher), now=NOW)
    backup = type(repository.folder)(tmp_path / "backup")
    shutil.copytree(repository.folder.root, backup.root)
    for hours in range(13, 80, 13):
        assert repository.refresh(now=NOW + timedelta(hours=hours))
    device(repository.folder, tmp_path / "device").refresh()
    restored = VersionRepository(backup)
    restored.resume(now=NOW + timedelta(hours=79))
    after = device(backup, tmp_path / "device")
    after.refresh()
    assert after.get_targetinfo("models/digits/1.0.0.json") is not None


def test_a_version_of_a_role_that_was_lost_and_made_again_is_not_taken_for_the_first(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    repository.publish(publication(repository, tmp_path, publisher), now=NOW)
    backup = type(repository.folder)(tmp_path / "backup")
    shutil.copytree(repository.folder.root, backup.root)
    repository.publish(publication(repository, tmp_path, publisher, version="2.0.0"), now=NOW)
    assert device(repository.folder, tmp_path / "device").get_targetinfo("models/digits/2.0.0.json") is not None
    restored = VersionRepository(backup)
    restored.publish(publication(restored, tmp_path, publisher, version="3.0.0"), now=NOW + timedelta(hours=1))
    for name in ("snapshot", "timestamp"):  # which devices forget when their keys were rotated
        (tmp_path / "device" / f"{name}.json").unlink()
    assert device(backup, tmp_path / "device").get_targetinfo("models/digits/3.0.0.json") is not None


def test_a_snapshot_of_before_names_all_files_by_their_hashes_at_the_next_change(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    repository.publish(publication(repository, tmp_path, publisher), now=NOW)
    for file in repository._state.snapshot.signed.meta.values():
        file.hashes = None
    repository.resume(now=NOW)
    meta = repository._state.snapshot.signed.meta
    assert {name: bool(file.hashes) for name, file in meta.items()} == {"targets.json": True, "model-digits.json": True}
    assert all(file.length is None for file in meta.values()), "a length would be devices' limit"


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs."""


@pytest.mark.parametrize("what", ["publish", "authorise", "refresh"])
def test_a_kill_before_or_after_any_file_leaves_a_repository_that_devices_accept(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    repository.publish(publication(repository, tmp_path, publisher), now=NOW)
    new = publication(repository, tmp_path, publisher, version="2.0.0")
    key = CryptoSigner.generate_ed25519().public_key
    acts = {
        "publish": lambda changed: changed.publish(new, now=NOW),
        "authorise": lambda changed: changed.authorise("words", key, now=NOW),
        "refresh": lambda changed: changed.refresh(now=NOW + timedelta(days=5)),
    }
    write, outcomes = durable.write, []
    for survived in range(6):
        folder = type(repository.folder)(tmp_path / f"killed-{survived}")
        shutil.copytree(repository.folder.root, folder.root)
        remaining = iter(range(survived))

        def dying(path: Path, data: bytes, *, mode: int = 0o644, remaining: Iterator[int] = remaining) -> None:
            if next(remaining, None) is None:
                raise Killed
            write(path, data, mode=mode)

        monkeypatch.setattr(durable, "write", dying)
        try:
            acts[what](VersionRepository(folder))
            finished = True
        except Killed:
            finished = False
        monkeypatch.setattr(durable, "write", write)
        updater = device(folder, tmp_path / f"device-{survived}")
        assert updater.get_targetinfo("models/digits/1.0.0.json") is not None
        if what == "publish":
            assert (updater.get_targetinfo("models/digits/2.0.0.json") is not None) is finished
        acts[what](VersionRepository(folder))
        again = device(folder, tmp_path / f"device-{survived}")
        again.refresh()
        if what == "publish":
            assert again.get_targetinfo("models/digits/2.0.0.json") is not None
        outcomes.append(finished)
    assert outcomes[0] is False
    assert outcomes[-1] is True


def test_a_flipped_byte_in_any_metadata_file_is_refused(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    repository.publish(publication(repository, tmp_path, publisher), now=NOW)
    names = [
        "timestamp.json",
        f"{repository._state.snapshot.signed.version}.snapshot.json",
        "2.targets.json",
        "1.model-digits.json",
    ]
    for number, name in enumerate(names):
        data = bytearray((repository.folder.metadata / name).read_bytes())
        data[data.index(b'"version":') + len('"version":')] ^= 1
        updater = device(
            repository.folder, tmp_path / f"device-{number}", replaced={f"tuf/metadata/{name}": bytes(data)}
        )
        with pytest.raises(RepositoryError):
            updater.get_targetinfo("models/digits/1.0.0.json")


def test_a_replayed_timestamp_is_refused(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    old = (repository.folder.metadata / "timestamp.json").read_bytes()
    repository.publish(publication(repository, tmp_path, publisher), now=NOW)
    device(repository.folder, tmp_path / "device").refresh()
    replaying = device(repository.folder, tmp_path / "device", replaced={"tuf/metadata/timestamp.json": old})
    with pytest.raises(BadVersionNumberError):
        replaying.refresh()


def test_a_publisher_cannot_publish_for_another_model(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    """The delegated path holds the publisher to its own model, whatever the role claims."""
    role = extend(
        None,
        publication(repository, tmp_path, publisher, name="words").manifest_bytes,
        minimum=None,
        signer=publisher,
        now=NOW,
        lifetimes=DEFAULT_LIFETIMES,
    )
    (repository.folder.metadata / "1.model-digits.json").write_bytes(serialize(role))
    repository._advance({"model-digits": 1}, repository._state.targets, now=NOW)
    assert device(repository.folder, tmp_path / "device").get_targetinfo("models/words/1.0.0.json") is None


def test_a_damaged_repository_says_which_file(repository: VersionRepository) -> None:
    (repository.folder.metadata / "timestamp.json").write_bytes(b"{}")
    with pytest.raises(InputError, match=r"timestamp\.json: expected TUF metadata"):
        VersionRepository(repository.folder)
