"""CONTRIBUTING.md says which tests belong to which folder, as `scripts/test` and the markers have it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import PurePath

import pytest

from tests import parts
from tests.docs.pages import ROOT, tables

PAGE = ROOT / "CONTRIBUTING.md"
MAP = tables(PAGE)["What to run"]
NOT_TESTED = {"tests"}
"""A changed test is run itself."""


def test_every_folder_with_code_is_on_the_map() -> None:
    visible = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    folders = {path.name for path in visible if next(path.rglob("*.py"), None)}
    named = {name for row in MAP for name in re.findall(r"`([\w.]+)/`", row[0])}
    assert folders - NOT_TESTED <= named


def test_every_part_and_every_script_of_tests_is_on_the_map() -> None:
    said = " ".join(row[1] for row in MAP)
    assert set(re.findall(r"`scripts/test (\w+)`", said)) == {*parts.PARTS, "fast"}
    scripts = {path.name for path in (ROOT / "scripts").glob("test-*")}
    assert {name for name in scripts if f"`scripts/{name}`" in said} == scripts


def test_the_script_knows_the_parts() -> None:
    text = (ROOT / "scripts" / "test").read_text()
    (listed,) = re.findall(r"^    fast \| (.+)\) part=", text, re.MULTILINE)
    assert tuple(listed.split(" | ")) == parts.PARTS
    markers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    assert set(parts.PARTS) <= {marker.partition(":")[0] for marker in markers}


@pytest.mark.parametrize("word", ["frobnicate", "unit"])
def test_the_script_refuses_a_part_that_is_none(word: str) -> None:
    done = subprocess.run([ROOT / "scripts" / "test", word], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: {word}: expected fast, core, " in done.stderr


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("unit/runtime/agent/test_spool.py", "runtime"), ("scenarios/device/test_shadow.py", "runtime"),
        ("scenarios/rollout/test_rollouts.py", "fleet"), ("e2e/converter/test_data.py", "converter"),
        ("e2e/test_demo.py", None), ("test_runtime.py", None),
    ],
)  # fmt: skip
def test_a_folder_tells_the_part(path: str, part: str | None) -> None:
    assert parts.of_folder(PurePath(path)) == part


def test_a_test_of_no_part_is_found() -> None:
    assert parts.without([("a", ["slow"]), ("b", ["slow", "core"])]) == ["a"]
