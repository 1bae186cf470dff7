"""Keys are replaced, stolen or lost; python-tuf's own client follows, also one that was away for several changes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Timestamp

from edgemm import durable
from edgemm.errors import ConflictError, EnvironmentFailure, InputError, PermissionDeniedError
from edgemm.trust.signing import load_key
from edgemm_fleet.trust import proposal as proposals
from edgemm_fleet.trust.ceremony import Replacement, propose, propose_renewal, sign_here
from edgemm_fleet.trust.fleet_folder import FleetConfig, FleetFolder
from edgemm_fleet.trust.key_files import KeyFiles
from edgemm_fleet.trust.key_overview import overview
from edgemm_fleet.trust.keys import create_keys
from edgemm_fleet.trust.metadata_files import create_repository, serialize
from edgemm_fleet.trust.proposal import Proposal
from edgemm_fleet.trust.proposal_changes import changes, unvouched
from edgemm_fleet.trust.publication import renewed_role
from edgemm_fleet.trust.roles import DEFAULT_LIFETIMES, model_keys
from edgemm_fleet.trust.rotation import ROLES, next_root
from edgemm_fleet.trust.version_repository import VersionRepository
from tests.unit.fleet.trust.repositories import NOW, device, publication

OLD_TARGET = "director.json"


@pytest.fixture
def repository(tmp_path: Path) -> VersionRepository:
    """A fleet's repository with one published version."""
    made = found_repository(tmp_path / "fleet")
    signer = CryptoSigner.generate_ed25519()
    made.authorise("digits", signer.public_key, now=NOW)
    made.publish(publication(made, tmp_path, signer), now=NOW)
    return made


def found_repository(path: Path, *, roots: int = 1, threshold: int = 1) -> VersionRepository:
    folder = FleetFolder(path)
    path.mkdir()
    signers = create_keys(folder, root_keys=roots)
    more = tuple(signers[f"root-{number}"] for number in range(2, roots + 1))
    create_repository(folder, signers.__getitem__, fleet="plant", now=NOW, more_roots=more, root_threshold=threshold)
    folder.write_config(FleetConfig(name="plant", public_url="http://127.0.0.1:1"))
    return VersionRepository(folder)


def rotate(repository: VersionRepository, *roles: str) -> None:
    made = sign_here(repository, propose(repository, dict.fromkeys(roles, Replacement()), now=NOW), keys=())
    assert proposals.missing(made) == []
    repository.apply(made, now=NOW)


def sees_all(folder: FleetFolder, state: Path) -> None:
    """Have a device look at the director's document and at a version."""
    client = device(folder, state)
    for path in (OLD_TARGET, "models/digits/1.0.0.json"):
        target = client.get_targetinfo(path)
        assert target is not None
        client.download_target(target, str(state / "target"))


@pytest.mark.parametrize("role", ROLES)
def test_each_role_has_another_key_and_a_device_follows(
    repository: VersionRepository, tmp_path: Path, role: str
) -> None:
    sees_all(repository.folder, tmp_path / "state")
    before = {one.role: [key.id for key in one.keys] for one in overview(repository)}
    rotate(repository, role)
    sees_all(repository.folder, tmp_path / "state")
    sees_all(repository.folder, tmp_path / "new")
    retired = [path.name for path in repository.folder.root.glob("offline-keys/*.retired")]
    assert retired == ([f"{role}.pem.retired"] if role in {"root", "targets"} else [])
    after = {one.role: [key.id for key in one.keys] for one in overview(repository)}
    assert {name for name in after if after[name] != before[name]} == {role}
    assert all(key.where != "not here" for one in overview(repository) if one.role in ROLES for key in one.keys)


def test_a_device_that_was_away_follows_all_roots(repository: VersionRepository, tmp_path: Path) -> None:
    sees_all(repository.folder, tmp_path / "state")
    for _ in range(3):
        rotate(repository, "root", "timestamp")
        rotate(repository, *ROLES)
    assert repository.root.signed.version == 7
    sees_all(repository.folder, tmp_path / "state")


def test_a_stolen_timestamp_key_is_worth_nothing_and_neither_is_what_it_signed_far_ahead(
    repository: VersionRepository, tmp_path: Path
) -> None:
    stolen = load_key(repository.folder.online_key("timestamp"))
    path = repository.folder.metadata / "timestamp.json"
    good = path.read_bytes()
    ahead: Metadata[Timestamp] = Metadata.from_bytes(good)
    ahead.signed.version = 2**31
    ahead.sign(stolen)
    path.write_bytes(serialize(ahead))
    device(repository.folder, tmp_path / "state").refresh()
    path.write_bytes(good)
    rotate(repository, "timestamp")
    sees_all(repository.folder, tmp_path / "state")
    ahead.signed.version = 2**31 + 1
    ahead.sign(stolen)
    path.write_bytes(serialize(ahead))
    with pytest.raises(RepositoryError):
        device(repository.folder, tmp_path / "new").refresh()


@pytest.mark.parametrize("role", ["director", "snapshot", "timestamp"])
def test_a_lost_key_of_the_server_is_made_anew(repository: VersionRepository, tmp_path: Path, role: str) -> None:
    sees_all(repository.folder, tmp_path / "state")
    repository.folder.online_key(role).unlink()
    again = VersionRepository(repository.folder)
    assert [one.where for one in overview(again) if one.role == role] == ["not here"]
    rotate(again, role)
    again.resume(now=NOW)
    sees_all(repository.folder, tmp_path / "state")


def test_a_lost_targets_key_is_replaced_by_the_root_key(repository: VersionRepository, tmp_path: Path) -> None:
    sees_all(repository.folder, tmp_path / "state")
    repository.folder.offline_key("targets").unlink()
    rotate(repository, "targets")
    sees_all(repository.folder, tmp_path / "state")
    repository.authorise("other", CryptoSigner.generate_ed25519().public_key, now=NOW)
    sees_all(repository.folder, tmp_path / "state")


def test_root_and_targets_are_signed_anew_with_a_later_expiry(repository: VersionRepository, tmp_path: Path) -> None:
    later = NOW + timedelta(days=3000)
    before = dict(repository.expiries())
    made = sign_here(repository, propose_renewal(repository, ("root", "targets"), now=later), keys=())
    repository.apply(made, now=later)
    after = dict(repository.expiries())
    assert after["root"] > before["root"]
    assert after["targets"] > before["targets"]
    sees_all(repository.folder, tmp_path / "state")


@pytest.mark.parametrize("step", range(11))
def test_a_change_that_is_cut_short_is_made_or_not_and_never_half(
    repository: VersionRepository, tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sees_all(repository.folder, tmp_path / "state")
    made = sign_here(repository, propose(repository, dict.fromkeys(ROLES, Replacement()), now=NOW), keys=())
    with monkeypatch.context() as patch:
        patch.setattr(durable, "write", _killed_at(step, durable.write))
        with pytest.raises(EnvironmentFailure):
            repository.apply(made, now=NOW)
    sees_all(repository.folder, tmp_path / "state")  # also before anybody ends it
    again = VersionRepository(repository.folder)
    again.catch_up(now=NOW)
    assert again.root.signed.version == (1 if step == 0 else 2)
    assert not repository.folder.trust_change.exists()
    sees_all(repository.folder, tmp_path / "state")
    again.resume(now=NOW)
    sees_all(repository.folder, tmp_path / "state")
    rotate(again, *ROLES)
    sees_all(repository.folder, tmp_path / "state")


def _killed_at(step: int, write: Callable[..., None]) -> Callable[..., None]:
    left = [step]

    def killed(path: Path, data: bytes, *, mode: int = 0o644) -> None:
        if left[0] == 0:
            raise EnvironmentFailure(f"killed before {path}")
        left[0] -= 1
        write(path, data, mode=mode)

    return killed


def test_another_process_sees_the_change(repository: VersionRepository, tmp_path: Path) -> None:
    running = VersionRepository(repository.folder)
    assert not running.is_stale()
    rotate(repository, *ROLES)
    assert running.is_stale()
    running.refresh(now=NOW + timedelta(days=6))
    assert running.root.signed.version == 2
    sees_all(repository.folder, tmp_path / "state")


def test_two_of_three_root_keys_sign_in_different_places(tmp_path: Path) -> None:
    repository = found_repository(tmp_path / "fleet", roots=3, threshold=2)
    folder = repository.folder
    sticks = []
    for path in sorted((folder.root / "offline-keys").glob("root-*.pem")):
        sticks.append(load_key(path))
        path.unlink()
    lost, first, second = sticks
    new = CryptoSigner.generate_ed25519()
    wanted = Replacement((lost.public_key.keyid[:8],), (new.public_key,))
    made = sign_here(repository, propose(repository, {"root": wanted}, now=NOW), keys=())
    assert len(proposals.missing(made)) == 2
    carried = proposals.decode(proposals.encode(made), name="stick")
    copies = [proposals.sign(carried, first), proposals.sign(carried, second)]
    assert proposals.missing(copies[0]) != []
    with pytest.raises(PermissionDeniedError, match="not wholly signed"):
        repository.apply(copies[0], now=NOW)
    merged = proposals.merge(copies)
    assert proposals.missing(merged) == []
    device(folder, tmp_path / "state").refresh()
    repository.apply(merged, now=NOW)
    device(folder, tmp_path / "state").refresh()
    assert new.public_key.keyid in repository.root.signed.roles["root"].keyids
    with pytest.raises(ConflictError, match="changed since this was proposed"):
        repository.apply(merged, now=NOW)


def test_one_of_one_becomes_two_of_three(repository: VersionRepository, tmp_path: Path) -> None:
    keys = [CryptoSigner.generate_ed25519() for _ in range(3)]
    wanted = Replacement(new_keys=tuple(key.public_key for key in keys), threshold=2)
    made = sign_here(repository, propose(repository, {"root": wanted}, now=NOW), keys=keys[:2])
    repository.apply(made, now=NOW)
    device(repository.folder, tmp_path / "state").refresh()
    again = propose(repository, {"timestamp": Replacement()}, now=NOW)
    assert proposals.missing(sign_here(repository, again, keys=keys[:1])) != []
    assert proposals.missing(sign_here(repository, again, keys=keys[1:])) == []


def test_what_cannot_be_is_refused(repository: VersionRepository) -> None:
    with pytest.raises(InputError, match="expected the beginning of one root key's id"):
        propose(repository, {"root": Replacement(replaced=("no key",))}, now=NOW)
    with pytest.raises(InputError, match="2 signatures of 1 keys cannot be"):
        propose(repository, {"root": Replacement(threshold=2)}, now=NOW)
    made = propose(repository, {"timestamp": Replacement()}, now=NOW)
    with pytest.raises(InputError, match="not one of those that are to sign"):
        proposals.sign(made, CryptoSigner.generate_ed25519())
    for path in (repository.folder.root / "offline-keys").glob("*.pem"):
        path.unlink()
    with pytest.raises(InputError, match="offline keys are elsewhere, as they should be"):
        propose(repository, {"root": Replacement()}, now=NOW)


def test_a_proposal_that_was_tampered_with_is_refused(repository: VersionRepository) -> None:
    made = sign_here(repository, propose(repository, dict.fromkeys(ROLES, Replacement()), now=NOW), keys=())
    other = {OLD_TARGET: made.documents[OLD_TARGET].replace("plant", "plent")}
    strange = KeyFiles(repository.folder).prepare("timestamp").public_key.keyid
    for changed, error in (
        (replace(made, documents=other), "is signed, and not what the proposal brings"),
        (replace(made, online_keys=made.online_keys | {"timestamp": strange}), "root names another key"),
        (replace(made, fleet="other"), "for fleet 'other'"),
        (replace(made, root=(made.root or "").replace('"version":2', '"version":3')), "not wholly signed"),
    ):
        with pytest.raises((InputError, ConflictError, PermissionDeniedError), match=error):
            repository.apply(changed, now=NOW)
    with pytest.raises(InputError, match="not copies of one proposal"):
        proposals.merge([made, replace(made, fleet="other")])


def test_who_signs_is_told_all_where_the_own_key_does_not_vouch_for_what_was_before(
    repository: VersionRepository, tmp_path: Path
) -> None:
    own = load_key(repository.folder.offline_key("root"))
    honest = propose(repository, {"timestamp": Replacement()}, now=NOW)
    assert unvouched(honest, own.public_key.keyid) == []
    thief = CryptoSigner.generate_ed25519()
    false = repository.root.from_bytes(serialize(repository.root))
    false.signed.add_key(thief.public_key, "root")
    false.sign(thief)
    forged = next_root(false, {}, now=NOW, lifetimes=DEFAULT_LIFETIMES)
    lie = replace(honest, base_root=serialize(false).decode(), root=serialize(forged).decode())
    assert not any(thief.public_key.keyid[:12] in line for line in changes(lie))
    told = unvouched(lie, own.public_key.keyid)
    assert any(line.startswith("root: 1 of 2 keys") and thief.public_key.keyid[:12] in line for line in told)
    assert unvouched(honest, thief.public_key.keyid) != []


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"v":2}', b"x" * 100])
def test_what_is_no_proposal(data: bytes) -> None:
    with pytest.raises(InputError, match="expected a proposal"):
        proposals.decode(data, name="stick")


def test_metadata_in_a_proposal_that_is_none(repository: VersionRepository) -> None:
    made: Proposal = propose(repository, {"timestamp": Replacement()}, now=NOW)
    with pytest.raises(InputError, match="expected TUF metadata of root"):
        proposals.decode(proposals.encode(replace(made, root=made.base_targets)), name="stick")


def test_a_publishers_key_is_replaced_without_a_moment_in_which_nothing_is_believed(
    repository: VersionRepository, tmp_path: Path
) -> None:

    sees_all(repository.folder, tmp_path / "state")
    (stolen,) = model_keys(repository.targets, "digits")
    new = CryptoSigner.generate_ed25519()
    repository.authorise("digits", new.public_key, now=NOW)
    with pytest.raises(ConflictError, match="edgemm fleet models renew digits"):
        repository.deprive("digits", stolen, now=NOW)
    role = repository.role("digits")
    assert role is not None
    signed = renewed_role(role.signed, new, now=NOW, lifetimes=DEFAULT_LIFETIMES)
    repository.renew("digits", signed, now=NOW)
    repository.deprive("digits", stolen, now=NOW)
    assert model_keys(repository.targets, "digits") == (new.public_key.keyid,)
    sees_all(repository.folder, tmp_path / "state")
    sees_all(repository.folder, tmp_path / "new")
    stranger = renewed_role(signed.signed, CryptoSigner.generate_ed25519(), now=NOW, lifetimes=DEFAULT_LIFETIMES)
    with pytest.raises(PermissionDeniedError):
        repository.renew("digits", stranger, now=NOW)
    repository.publish(publication(repository, tmp_path, new, version="2.0.0"), now=NOW)
    sees_all(repository.folder, tmp_path / "state")
