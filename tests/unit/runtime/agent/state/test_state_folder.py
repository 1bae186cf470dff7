from __future__ import annotations

from pathlib import Path

import pytest

from edgemm.errors import EnvironmentFailure, NewerFormatError
from edgemm_runtime.agent.state.documents import BootFile, IdentityFile, ModelFile
from edgemm_runtime.agent.state.state_folder import StateFolder


def test_one_agent_at_a_time(tmp_path: Path) -> None:
    first = StateFolder(tmp_path)
    with pytest.raises(EnvironmentFailure, match=r"in use by another agent: stop it, or .* --state-dir"):
        StateFolder(tmp_path)
    first.close()
    StateFolder(tmp_path).close()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EnvironmentFailure, match="choose one with --state-dir"):
        StateFolder(tmp_path / "file" / "state")


def test_documents_come_back_and_leftovers_go(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.write("boot.json", BootFile(count=3))
    folder.write_model(ModelFile(name="tiny", serial=4))
    (tmp_path / "models" / ".edgemm-tmp-1234").write_bytes(b"half")
    folder.close()
    again = StateFolder(tmp_path)
    assert again.read("boot.json", BootFile) == BootFile(count=3)
    assert again.read_models() == {"tiny": ModelFile(name="tiny", serial=4)}
    assert not list(tmp_path.glob("**/.edgemm-tmp-*"))
    again.close()


@pytest.mark.parametrize("data", [b"", b"\0\0\0", b'{"v":1,"count":0}', b'{ "v": 1, "count": 3 }', b"[1]", b"\xff"])
def test_a_damaged_document_is_as_good_as_none(tmp_path: Path, data: bytes) -> None:
    folder = StateFolder(tmp_path)
    (tmp_path / "boot.json").write_bytes(data)
    assert folder.read("boot.json", BootFile) is None
    folder.close()


def test_a_document_of_a_later_version_is_refused_by_name(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    (tmp_path / "identity.json").write_bytes(b'{"count":3,"v":2}')
    with pytest.raises(NewerFormatError, match="document version 2 is newer than 1"):
        folder.read("identity.json", IdentityFile)
    folder.close()


def test_a_record_under_another_name_is_left_out(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.write("models/other.json", ModelFile(name="tiny"))
    assert folder.read_models() == {}
    folder.close()


def test_closing_twice_closes_no_file_of_others(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state")
    folder.close()
    with (tmp_path / "other").open("wb") as other:  # takes the number that the lock had
        folder.close()
        other.write(b"still open")
