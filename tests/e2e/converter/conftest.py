"""Models, and conversions of them that several tests look at; each is done once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.e2e.processes import Done, Place, run_edgemm

SEVEN = ("float32", "float16", "int8", "int8-dynamic", "int16x8", "int8-weights", "int4-weights")
Convert = Callable[..., Done]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `simulators.keras_models` filled."""
    folder = tmp_path_factory.mktemp("models")
    path = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    subprocess.run(
        [sys.executable, "-m", "simulators.keras_models", str(folder)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def convert(place: Place, models: Path) -> Convert:
    """Convert one of `models`, in an empty folder; names of files of theirs are found among the options."""

    def run(source: str, *options: str | Path) -> Done:
        found = [models / o if isinstance(o, str) and (models / o).exists() else o for o in options]
        return run_edgemm("convert", models / source, *found, at=place, timeout_s=250)

    return run


@pytest.fixture(scope="session")
def every_precision(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `cnn.edgemm`, with all seven precisions and ONNX, and of `cnn.html`, its report."""
    place = Place.make(tmp_path_factory.mktemp("precisions"))
    wanted = [text for precision in SEVEN for text in ("--precision", precision)]
    done = run_edgemm(
        "convert", models / "cnn.keras", *wanted, "--calibration", models / "images.npz", "--eval",
        models / "labelled.npz", "--licence", "Apache-2.0", "-o", "cnn.edgemm", "--report", "cnn.html",
        at=place, timeout_s=250,
    )  # fmt: skip
    assert done.status == 0, done
    return place.folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Make file systems of so many KiB; skip where that is not allowed."""
    mounted: list[Path] = []

    def make(kib: int) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k,mode=0700", "none", str(folder)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small file system needs root with the right to mount")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
