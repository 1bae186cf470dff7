"""Folders that are whole or not there, and what is left of one whose process was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgemm_fleet.whole_folder import made_whole

KILLED = """
import os, signal, sys
from pathlib import Path
from edgemm_fleet.whole_folder import made_whole

with made_whole(Path(sys.argv[1])) as folder:
    (folder / "root.pem").write_text("secret")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    with made_whole(tmp_path / "a" / "new") as folder:
        (folder / "x").write_text("1")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert not (tmp_path / "a" / "new").exists()
    assert names(tmp_path / "a") == ["new"]
    with pytest.raises(ZeroDivisionError), made_whole(tmp_path / "a" / "other"):
        raise ZeroDivisionError
    assert names(tmp_path / "a") == ["new"]


def test_what_a_killed_process_left_is_removed_and_what_another_makes_is_not(tmp_path: Path) -> None:
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "new")], check=False)
        assert done.returncode == -signal.SIGKILL
    (left,) = names(tmp_path)
    assert (tmp_path / left / "root.pem").read_text() == "secret"
    (tmp_path / ".edgemm-tmp-0011").write_text("of another kind")
    (tmp_path / ".edgemm-tmp-folder-link").symlink_to(tmp_path.parent)
    with made_whole(tmp_path / "one"), made_whole(tmp_path / "two") as folder:
        (folder / "x").write_text("1")
    assert names(tmp_path) == [".edgemm-tmp-0011", ".edgemm-tmp-folder-link", "one", "two"]
    assert tmp_path.parent.exists()
