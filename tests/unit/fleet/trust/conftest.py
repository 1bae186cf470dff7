from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from edgemm_fleet.trust.version_repository import VersionRepository
from tests.unit.fleet.trust.repositories import NOW, new_repository


@pytest.fixture
def repository(tmp_path: Path) -> VersionRepository:
    """A fresh repository in which `publisher` may publish `digits`."""
    return new_repository(tmp_path / "fleet")


@pytest.fixture
def publisher(repository: VersionRepository) -> CryptoSigner:
    signer = CryptoSigner.generate_ed25519()
    repository.authorise("digits", signer.public_key, now=NOW)
    return signer
