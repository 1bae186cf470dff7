import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemm import durable
from edgemm.errors import EnvironmentFailure


@pytest.fixture
def full_after_4_kib() -> Iterator[None]:
    """Let this process write no file beyond 4 KiB: writes fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_written_file_has_a_new_inode_and_the_mode_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"old")
    with path.open("rb") as mapped_elsewhere:
        durable.write(path, b"new", mode=0o600)
        assert mapped_elsewhere.read() == b"old"
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_keeps_the_old_file_and_leaves_no_litter(tmp_path: Path, full_after_4_kib: None) -> None:
    path = tmp_path / "state"
    durable.write(path, b"old")
    with pytest.raises(EnvironmentFailure, match=r"state.*nothing was changed"):
        durable.write(path, b"x" * 100_000)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["state"]


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state"
    durable.write(path, b"old")
    with pytest.raises(KeyboardInterrupt), durable.replacing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["state"]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / f"{durable.TEMPORARY_PREFIX}1").write_bytes(b"half")
    (tmp_path / "state").write_bytes(b"whole")
    durable.remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["state"]
