"""Where a person's login is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemm.errors import EnvironmentFailure
from edgemm_fleet.client.profile import Profile, write_profile


def test_a_home_that_keeps_nothing_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    with pytest.raises(EnvironmentFailure, match=r"edgemm: cannot keep a login here: .*; name a folder"):
        write_profile(Profile(url="https://localhost:8443", token="emp1_x", tls_fingerprint=None, root="{}"))
