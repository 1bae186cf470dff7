from pathlib import Path

import pytest

from edgemm import canonical
from edgemm.bundle.blobs import BlobFolder
from edgemm.errors import DigestMismatchError, NotFoundError

DATA = b"weights"
DIGEST = canonical.sha256(DATA)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobFolder:
    return BlobFolder(tmp_path / "blobs")


def test_a_blob_is_kept_under_its_digest(blobs: BlobFolder) -> None:
    blobs.write(DIGEST, [DATA[:3], DATA[3:]])
    assert blobs.has(DIGEST)
    assert blobs.read(DIGEST) == DATA
    assert list(blobs.digests()) == [DIGEST]
    blobs.remove(DIGEST)
    assert not blobs.has(DIGEST)


def test_bytes_that_hash_to_something_else_are_not_kept(blobs: BlobFolder) -> None:
    with pytest.raises(DigestMismatchError):
        blobs.write(DIGEST, [b"other"])
    assert list(blobs.folder.iterdir()) == []


def test_rot_is_noticed_when_it_is_read(blobs: BlobFolder) -> None:
    blobs.write(DIGEST, [DATA])
    blobs.path(DIGEST).write_bytes(b"rotten")
    with pytest.raises(DigestMismatchError):
        blobs.read(DIGEST)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "0" * 63, "A" * 64, "0" * 64 + "\n"])
def test_a_name_that_is_no_digest_reaches_no_file(blobs: BlobFolder, name: str) -> None:
    with pytest.raises(NotFoundError, match="SHA-256"):
        blobs.path(name)


def test_a_blob_that_is_not_here(blobs: BlobFolder) -> None:
    with pytest.raises(NotFoundError, match="no blob"):
        blobs.read(DIGEST)
