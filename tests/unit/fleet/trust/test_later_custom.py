"""What a later publisher signed beside a version: an earlier one, and the server, keep it."""

from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, TargetFile, Targets

from edgemm.errors import BadRequestError
from edgemm_fleet.trust.metadata_files import serialize
from edgemm_fleet.trust.publication import Publication
from edgemm_fleet.trust.version_repository import VersionRepository
from tests.unit.fleet.trust.repositories import NOW, publication

LATER: dict[str, object] = {"minimum_version": "0.5.0", "requires": ["boards"], "boards": ["pi-5"]}


def _with_custom(new: Publication, signer: CryptoSigner, custom: dict[str, object]) -> Publication:
    role: Metadata[Targets] = Metadata.from_bytes(serialize(new.role))
    target = role.signed.targets[new.path]
    role.signed.targets[new.path] = TargetFile(target.length, target.hashes, new.path, {"custom": custom, "later": 1})
    role.sign(signer)
    return Publication(new.manifest, new.manifest_bytes, role)


def test_a_publisher_keeps_what_a_later_one_signed(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    first = _with_custom(publication(repository, tmp_path, publisher), publisher, LATER)
    assert repository.publish(first, now=NOW)
    repository.publish(publication(repository, tmp_path, publisher, version="2.0.0", minimum="1.0.0"), now=NOW)
    role = repository.role("digits")
    assert role is not None
    targets = role.signed.targets
    old, new = targets["models/digits/1.0.0.json"], targets["models/digits/2.0.0.json"]
    assert old.custom == LATER | {"minimum_version": "1.0.0"}
    assert old.unrecognized_fields["later"] == 1
    assert new.custom == {"minimum_version": "1.0.0"}


def test_a_minimum_version_of_a_later_kind_is_not_taken_for_none(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    later = _with_custom(publication(repository, tmp_path, publisher), publisher, {"minimum_version": ["1.0.0"]})
    with pytest.raises(BadRequestError, match="expected a version as minimum_version"):
        repository.publish(later, now=NOW)
