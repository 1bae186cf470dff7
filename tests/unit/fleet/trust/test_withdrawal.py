"""The withdrawal of versions: what an administrator may, and what a publisher may not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Targets

from edgemm.errors import BadRequestError, ConflictError, EdgemmError, InputError, NotFoundError, PermissionDeniedError
from edgemm.trust.withdrawn import WITHDRAWN
from edgemm_fleet.trust.metadata_files import serialize
from edgemm_fleet.trust.model_role import minimum_version, withdrawn_of
from edgemm_fleet.trust.publication import renewed_role
from edgemm_fleet.trust.roles import DEFAULT_LIFETIMES
from edgemm_fleet.trust.version_repository import VersionRepository
from edgemm_fleet.trust.withdrawal import withdrawal
from tests.unit.fleet.trust.repositories import NOW, device, publication

HIGHEST = "999999999.999999999.999999999"


@pytest.fixture
def robbed(repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path) -> VersionRepository:
    """A repository with 1.0.0, 2.0.0, and the highest version there can be, which closes all below."""
    for version, minimum in (("1.0.0", None), ("2.0.0", None), (HIGHEST, HIGHEST)):
        new = publication(repository, tmp_path, publisher, version=version, minimum=minimum)
        repository.publish(new, now=NOW)
    return repository


def _current(repository: VersionRepository) -> Targets:
    role = repository.role("digits")
    assert role is not None
    return role.signed


def _withdrawal(
    repository: VersionRepository, signer: CryptoSigner, *versions: str, minimum: str | None = None
) -> Metadata[Targets]:
    return withdrawal(
        _current(repository), "digits", versions, minimum=minimum, signer=signer, now=NOW, lifetimes=DEFAULT_LIFETIMES
    )


def test_a_withdrawn_version_is_no_target_and_its_number_is_used_up(
    robbed: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    again = publication(robbed, tmp_path, publisher, version=HIGHEST)
    robbed.withdraw("digits", _withdrawal(robbed, publisher, HIGHEST, minimum="1.0.0"), now=NOW)
    updater = device(robbed.folder, tmp_path / "device")
    assert updater.get_targetinfo(f"models/digits/{HIGHEST}.json") is None
    left = updater.get_targetinfo("models/digits/2.0.0.json")
    assert left is not None
    assert left.custom == {"minimum_version": "1.0.0"}
    with pytest.raises(ConflictError, match="its number is used up"):
        publication(robbed, tmp_path, publisher, version=HIGHEST)
    with pytest.raises(NotFoundError, match="was withdrawn"):
        robbed.manifest("digits", HIGHEST)
    again.role.signed.version = _current(robbed).version + 1
    again.role.signed.unrecognized_fields = dict(_current(robbed).unrecognized_fields)
    again.role.sign(publisher)
    with pytest.raises(ConflictError, match="its number is used up"):
        robbed.publish(again, now=NOW)
    robbed.publish(publication(robbed, tmp_path, publisher, version="2.0.1"), now=NOW)
    assert withdrawn_of(_current(robbed)) == {HIGHEST}, "publishing and renewing keep it"
    robbed.renew("digits", renewed_role(_current(robbed), publisher, now=NOW, lifetimes=DEFAULT_LIFETIMES), now=NOW)
    assert withdrawn_of(_current(robbed)) == {HIGHEST}


def test_all_versions_may_go_and_then_any_number_that_is_left_may_come(
    robbed: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    robbed.withdraw("digits", _withdrawal(robbed, publisher, "1.0.0", "2.0.0", HIGHEST), now=NOW)
    assert minimum_version(_current(robbed)) == "0.0.0"
    robbed.publish(publication(robbed, tmp_path, publisher, version="0.1.0"), now=NOW)


def test_the_minimum_alone_may_be_lowered_and_a_version_be_withdrawn_again(
    robbed: VersionRepository, publisher: CryptoSigner
) -> None:
    robbed.withdraw("digits", _withdrawal(robbed, publisher, minimum="0.5.0"), now=NOW)
    assert (minimum_version(_current(robbed)), len(_current(robbed).targets)) == ("0.5.0", 3)
    for _ in range(2):
        robbed.withdraw("digits", _withdrawal(robbed, publisher, HIGHEST), now=NOW)
    assert withdrawn_of(_current(robbed)) == {HIGHEST}


@pytest.mark.parametrize(
    ("versions", "minimum", "says"),
    [
        ((HIGHEST,), None, "give --minimum-version, at most 2.0.0"),
        ((HIGHEST,), "2.0.1", "at most 2.0.0"),
        (("3.0.0",), None, "digits 3.0.0 is not published"),
        (("1.0.0", "2.0.0", HIGHEST), "1.0.0", "no version would be left that could carry it"),
        ((HIGHEST,), "two", "expected MAJOR.MINOR.PATCH"),
    ],
)
def test_what_would_leave_nothing_to_install_is_not_signed(
    robbed: VersionRepository, publisher: CryptoSigner, versions: tuple[str, ...], minimum: str | None, says: str
) -> None:
    with pytest.raises(InputError, match=says.replace("(", r"\(")):
        _withdrawal(robbed, publisher, *versions, minimum=minimum)


def _drops_one_more(role: Targets) -> None:
    del role.targets["models/digits/1.0.0.json"]


def _names_one_more(role: Targets) -> None:
    role.unrecognized_fields[WITHDRAWN] = ["3.0.0", HIGHEST]


def _names_none(role: Targets) -> None:
    del role.unrecognized_fields[WITHDRAWN]


def _names_them_otherwise(role: Targets) -> None:
    role.unrecognized_fields[WITHDRAWN] = {"2.0.0": True}


def _changes_a_target(role: Targets) -> None:
    role.targets["models/digits/1.0.0.json"].hashes["sha256"] = "0" * 64


def _adds_a_target(role: Targets) -> None:
    role.targets["models/digits/1.0.1.json"] = role.targets["models/digits/1.0.0.json"]


def _changes_what_stands_beside(role: Targets) -> None:
    role.targets["models/digits/1.0.0.json"].unrecognized_fields["custom"] = {"minimum_version": "1.0.0", "more": 1}


def _adds_a_field(role: Targets) -> None:
    role.unrecognized_fields["later"] = 1


def _closes_all(role: Targets) -> None:
    for target in role.targets.values():
        target.unrecognized_fields["custom"] = {"minimum_version": HIGHEST}


def _skips_a_version(role: Targets) -> None:
    role.version += 1


@pytest.mark.parametrize(
    "change",
    [
        _drops_one_more, _names_one_more, _names_none, _names_them_otherwise, _changes_a_target, _adds_a_target,
        _changes_what_stands_beside, _adds_a_field, _closes_all, _skips_a_version,
    ],
)  # fmt: skip
def test_a_withdrawal_changes_nothing_else(
    robbed: VersionRepository, publisher: CryptoSigner, change: Callable[[Targets], None]
) -> None:
    role: Metadata[Targets] = Metadata.from_bytes(serialize(_withdrawal(robbed, publisher, HIGHEST, minimum="1.0.0")))
    before = _current(robbed)
    change(role.signed)
    role.sign(publisher)
    with pytest.raises((BadRequestError, ConflictError)):
        robbed.withdraw("digits", role, now=NOW)
    assert _current(robbed) == before


def test_a_key_that_may_not_publish_withdraws_nothing(robbed: VersionRepository) -> None:
    with pytest.raises(PermissionDeniedError, match="not signed by a key that may publish it"):
        robbed.withdraw("digits", _withdrawal(robbed, CryptoSigner.generate_ed25519(), "1.0.0"), now=NOW)


def test_a_publisher_neither_withdraws_nor_brings_back(
    robbed: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    made = _withdrawal(robbed, publisher, HIGHEST, minimum="1.0.0")
    _refused(lambda: robbed.renew("digits", made, now=NOW), "it withdraws 999")
    robbed.withdraw("digits", made, now=NOW)
    forgetful = renewed_role(_current(robbed), publisher, now=NOW, lifetimes=DEFAULT_LIFETIMES)
    forgetful.signed.unrecognized_fields.clear()
    forgetful.sign(publisher)
    _refused(lambda: robbed.renew("digits", forgetful, now=NOW), "update edgemm there")
    later = publication(robbed, tmp_path, publisher, version="2.0.1")
    later.role.signed.unrecognized_fields.clear()
    later.role.sign(publisher)
    _refused(lambda: robbed.publish(later, now=NOW), "update edgemm there")


def _refused(act: Callable[[], object], says: str) -> None:
    with pytest.raises(EdgemmError, match=says):
        act()


def test_a_publisher_that_meets_the_minimum_is_told_the_way_out(
    robbed: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    way_out = "edgemm fleet models withdraw digits --minimum-version"
    for minimum in (None, "2.0.1"):
        with pytest.raises(InputError, match=way_out):
            publication(robbed, tmp_path, publisher, version="2.0.1", minimum=minimum)


def _closes_an_older_one(role: Targets) -> None:
    custom = {"minimum_version": HIGHEST, "requires": ["what-nobody-has"]}
    role.targets["models/digits/1.0.0.json"].unrecognized_fields["custom"] = custom


def _breaks_what_stands_beside(role: Targets) -> None:
    role.targets["models/digits/2.0.1.json"].unrecognized_fields["custom"] = "0.0.0"


@pytest.mark.parametrize("change", [_closes_an_older_one, _breaks_what_stands_beside])
def test_a_publisher_changes_nothing_beside_what_is_published(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path, change: Callable[[Targets], None]
) -> None:
    repository.publish(publication(repository, tmp_path, publisher), now=NOW)
    later = publication(repository, tmp_path, publisher, version="2.0.1")
    change(later.role.signed)
    later.role.sign(publisher)
    with pytest.raises(BadRequestError, match="expected"):
        repository.publish(later, now=NOW)


def test_what_a_thief_fills_a_role_with_does_not_stay(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    repository.publish(publication(repository, tmp_path, publisher), now=NOW)
    full = publication(repository, tmp_path, publisher, version="2.0.0")
    full.role.signed.unrecognized_fields["later"] = "x" * 2_000_000
    full.role.signed.targets["models/digits/2.0.0.json"].unrecognized_fields["later"] = "x" * 1_900_000
    full.role.sign(publisher)
    repository.publish(full, now=NOW)
    made = _withdrawal(repository, publisher, "2.0.0")
    assert len(serialize(made)) < 2_000
    repository.withdraw("digits", made, now=NOW)
    repository.publish(publication(repository, tmp_path, publisher, version="2.0.1"), now=NOW)
