"""Models built once, and conversions of them run once, for all tests of the converter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgemm.bundle import open_bundle
from edgemm.bundle.manifest import Manifest

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Run:
    """How one `edgemm convert` ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The last line on stderr."""
        return self.stderr.strip().splitlines()[-1]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", ""))), **more}


def told_by(module: str) -> dict[str, Any]:
    """Return the JSON that a program of `simulators` writes; a process of its own, since it imports TensorFlow."""
    done = subprocess.run(
        [sys.executable, "-m", f"simulators.{module}"],
        cwd=ROOT, env=environment(), check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run_convert(*arguments: object, folder: Path, **env: str) -> Run:
    done = subprocess.run(
        [sys.executable, "-m", "edgemm", "convert", *map(str, arguments)],
        cwd=folder, env=environment(**env), capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Run(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `simulators.keras_models` filled."""
    folder = tmp_path_factory.mktemp("models")
    subprocess.run(
        [sys.executable, "-m", "simulators.keras_models", str(folder)],
        cwd=ROOT, env=environment(), check=True, capture_output=True,
    )  # fmt: skip
    return folder


@dataclass(frozen=True)
class Converted:
    """A bundle that `edgemm convert` wrote, and what it said."""

    path: Path
    manifest: Manifest
    summary: dict[str, object]


Convert = Callable[..., Converted]


@pytest.fixture(scope="session")
def converted(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Convert:
    """Convert one of `models` with the options given; the same call converts once."""
    done: dict[tuple[str, ...], Converted] = {}

    def convert(source: Path | str, *options: object) -> Converted:
        key = (str(source), *map(str, options))
        if key not in done:
            folder = tmp_path_factory.mktemp("converted")
            run = run_convert(models / source, *options, "--json", folder=folder)
            assert run.status == 0, run.stderr
            summary = json.loads(run.stdout)
            path = folder / summary["path"]
            with open_bundle(path) as bundle:
                done[key] = Converted(path, bundle.manifest, summary)
        return done[key]

    return convert
