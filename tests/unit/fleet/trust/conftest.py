import pytest
from securesystemslib.signer import CryptoSigner

from tests.unit.fleet.trust.repositories import NOW, new_repository


@pytest.fixture
def repository(tmp_path):
    """A fresh repository in which `publisher` may publish `digits`."""
    return new_repository(tmp_path / "fleet")


@pytest.fixture
def publisher(repository):
    signer = CryptoSigner.generate_ed25519()
    repository.authorise("digits", signer.public_key, now=NOW)
    return signer
