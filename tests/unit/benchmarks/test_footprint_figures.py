"""benchmarks.footprint: each byte of an installation is counted once, for the distribution that brought it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from benchmarks.footprint import GOAL_MB, Footprint, Import, Size, Weights, compile_loaded, rows, weigh


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Return a folder as pip leaves it, with two distributions that share no folder and a script of nobody."""
    for name, text in (("heavy", "x = 1\n" * 20_000), ("light", "y = 2\n")):
        package, record = tmp_path / name, tmp_path / f"{name}-1.0.dist-info" / "RECORD"
        package.mkdir()
        record.parent.mkdir()
        (package / "__init__.py").write_text(text)
        (package / "never.py").write_text(text)
        record.write_text(f"{name}/__init__.py,,\n{name}/never.py,,\n{name}-1.0.dist-info/RECORD,,\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "heavy").write_text("#!/bin/sh\n")
    return tmp_path


def test_the_whole_is_what_du_says_and_the_parts_add_up_to_it(installed: Path) -> None:
    found = weigh(installed)
    said = subprocess.run(["du", "-s", "-B1", installed], capture_output=True, text=True, check=True)
    assert found.whole.allocated_bytes == int(said.stdout.split()[0]) == sum(found.allocated_bytes.values())
    assert found.allocated_bytes["heavy 1.0"] > 200_000 > found.allocated_bytes["light 1.0"] > 0
    assert found.whole.apparent_bytes > 240_000


def test_bytecode_is_that_of_what_was_loaded_and_belongs_to_its_source(installed: Path) -> None:
    before = weigh(installed)
    assert compile_loaded(installed, ["light/__init__.py", "not/here.py"]) == 1
    written = [path for path in installed.rglob("*") if path.suffix == ".pyc"]
    assert written == [Path(cache_from_source(str(installed / "light" / "__init__.py")))]
    after = weigh(installed)
    assert after.allocated_bytes["light 1.0"] > before.allocated_bytes["light 1.0"]
    assert after.allocated_bytes["heavy 1.0"] == before.allocated_bytes["heavy 1.0"]


def test_what_a_device_loads_decides_whether_the_goal_holds() -> None:
    def state(megabytes: float) -> Weights:
        size = int(megabytes * 1e6)
        return Weights(Size(size, size), {"edgemm 0.1.0": size})

    quick = Import(0.3, 0.3)
    found = Footprint("3.11", state(GOAL_MB - 9), state(GOAL_MB), state(GOAL_MB + 30), quick, quick)
    assert found.holds
    assert not replace(found, loaded=state(GOAL_MB + 0.1)).holds
    assert "| edgemm 0.1.0 | 141.0 | 150.0 | 180.0 |" in rows(found)
