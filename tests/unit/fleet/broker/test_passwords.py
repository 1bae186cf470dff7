from __future__ import annotations

import subprocess
from pathlib import Path
from shutil import which

import pytest

from edgemm_fleet.broker.passwords import hash_password, matches


def test_only_the_password_itself_matches_its_hash() -> None:
    stored = hash_password("correct horse")
    assert matches("correct horse", stored)
    assert not matches("correct Horse", stored)
    assert stored != hash_password("correct horse"), "every hash has its own salt"


@pytest.mark.parametrize(
    "stored", ["", "$7$", "plain", "$6$1$YQ==$YQ==", "$7$-1$YQ==$YQ==", "$7$101$!!$!!", "$7$x$YQ==$YQ=="]
)
def test_a_damaged_hash_matches_nothing(stored: str) -> None:
    assert not matches("", stored)


@pytest.mark.service
def test_a_hash_that_mosquitto_wrote_is_understood(tmp_path: Path, mosquitto: Path) -> None:
    tool = which("mosquitto_passwd")
    assert tool is not None, "mosquitto_passwd comes with Mosquitto"
    file = tmp_path / "passwords"
    subprocess.run([tool, "-b", "-c", str(file), "cam-1", "correct horse"], check=True, capture_output=True)
    stored = file.read_text().strip().partition(":")[2]
    assert matches("correct horse", stored)
    assert not matches("wrong", stored)
