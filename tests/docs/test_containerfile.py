"""The Containerfile says what the code does: its state folder, its options, its health check, what it is built from."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edgemm_runtime.commands.being_device import default_state_dir
from edgemm_runtime.commands.run import run
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.server import ModelServer
from simulators.ports import free_port

ROOT = Path(__file__).parents[2]
TEXT = re.sub(r"\\\n\s*", " ", (ROOT / "Containerfile").read_text())
LAST = TEXT[TEXT.rindex("\nFROM ") :]


def _one(instruction: str) -> str:
    (found,) = re.findall(rf"^{instruction} (.+)$", LAST, re.MULTILINE)
    return str(found)


def test_its_volume_is_where_a_device_keeps_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in re.findall(r"(\w+)=(\S+)", _one("ENV")):
        monkeypatch.setenv(name, value)
    assert str(default_state_dir()) == _one("VOLUME")
    assert f"--owner=edgemm --group=edgemm --mode=0700 {_one('VOLUME')}" in LAST


def test_it_runs_as_a_user_without_rights() -> None:
    user = _one("USER")
    assert int(user) > 1000
    assert f"useradd --uid {user} " in LAST


def test_what_follows_its_name_are_options_of_run() -> None:
    program, command, *words = json.loads(_one("ENTRYPOINT"))
    assert (program, command) == ("edgemm", "run")
    given = run.make_context("edgemm run", [*words, "--fleet", "https://fleet.example:8443"]).params
    assert given["listen"] == ("0.0.0.0",)
    assert given["port"] == int(_one("EXPOSE"))


def test_its_health_is_that_of_the_server() -> None:
    (asked,) = re.findall(r"CMD (\[.+\])", _one("HEALTHCHECK"))
    _, *words = json.loads(asked)
    address = f"http://127.0.0.1:{_one('EXPOSE')}"
    assert f"{address}/v2/health/live" in words[-1]

    def healthy(port: int) -> bool:
        command = [sys.executable, *words[:-1], words[-1].replace(address, f"http://127.0.0.1:{port}")]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    with ModelServer(ModelRegistry()) as server:
        assert healthy(int(server.address.rpartition(":")[2])), "also without a model"
    assert not healthy(free_port())


def test_what_is_built_from_reaches_the_build_and_little_else() -> None:
    kept = [line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {
        "pyproject.toml",
        "constraints-device.txt",
        project["project"]["readme"],
        *project["project"]["license-files"],
    }
    assert set(kept) == needed | {package.split("/")[0] for package in packages}
    assert all((ROOT / name).exists() for name in kept)
    assert not any(fnmatch.fnmatch("tests", name) for name in kept)


def test_no_tool_to_build_with_is_left() -> None:
    assert "pip uninstall --yes pip setuptools" in TEXT
    assert "pip install" not in LAST
    assert "apt-get" not in TEXT
