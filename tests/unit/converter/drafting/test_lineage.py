import subprocess
from pathlib import Path

import pytest

from edgemm.errors import InputError
from edgemm_converter.drafting import lineage


def git(*arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


def test_a_commit_is_named_only_while_the_tracked_files_are_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert lineage.git_commit() is None
    git("init")
    (tmp_path / "train.py").write_text("1")
    git("add", "train.py")
    git("commit", "-m", "x")
    commit = lineage.git_commit()
    assert commit is not None
    assert len(commit) == 40
    (tmp_path / "m-0.1.0.edgemm").write_text("a bundle written here must not change the next one")
    assert lineage.git_commit() == commit
    (tmp_path / "train.py").write_text("2")
    assert lineage.git_commit() is None


def test_time_is_recorded_only_where_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert lineage.created() is None
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert lineage.created() == "2023-11-14T22:13:20Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(InputError, match="SOURCE_DATE_EPOCH"):
        lineage.created()
