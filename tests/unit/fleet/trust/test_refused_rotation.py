"""A rotation that is refused leaves no private key behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemm.cli import run


@pytest.mark.parametrize("more", [[], ["--replace", "zz"], ["--threshold", "9", "--new-key", "none.json"]])
def test_a_refused_rotation_makes_no_key(tmp_path: Path, more: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "fl"
    url = "https://old.example:8443"
    assert run(["fleet", "init", str(folder), "--public-url", url, "--root-keys", "3"]) == 0
    before = set(folder.rglob("*.pem"))
    assert run(["fleet", "keys", "rotate", "timestamp", "targets", "root", "--folder", str(folder), *more]) == 2
    assert set(folder.rglob("*.pem")) == before
