"""Conversions that are stopped, and disks that are full: nothing is left, and it is said why."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from simulators.waiting import eventually
from tests.e2e.processes import Place, Programs, refuses, run_edgemm

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

Disk = Callable[[int], Path]


def named(case: tuple[signal.Signals, str, int]) -> str:
    return f"{case[0].name}-{case[1]}"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files, empty again at the end."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "case",
    [
        (signal.SIGINT, "running the source model", 130),
        (signal.SIGINT, "evaluating int8", 130),
        (signal.SIGINT, "self-testing", 130),
        (signal.SIGTERM, "converting to tflite:float32", 143),
    ],
    ids=named,
)
def test_a_stopped_conversion_leaves_nothing(
    case: tuple[signal.Signals, str, int], place: Place, programs: Programs, models: Path, temporary: Path
) -> None:
    how, stage, status = case
    program = programs.start(
        "convert", "convert", models / "cnn.keras", "--precision", "auto", "--max-drop", "0.5", "--calibration",
        models / "images.npz", "--eval", models / "labelled.npz", "--report", "page.html",
    )  # fmt: skip
    program.wait_for(f"• {stage}", timeout_s=120)
    children = psutil.Process(program.pid).children(recursive=True)
    os.kill(program.pid, how)
    eventually(lambda: program.status is not None, "the end of the command", timeout_s=30)
    assert program.status == status
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
    assert {p.name for p in place.folder.iterdir()} - {"logs", "tmp"} == {"home"}
    assert "Traceback" not in program.text


@pytest.mark.parametrize("kib", [4, 24, 160])
def test_a_full_folder_for_temporary_files_is_named(
    kib: int, disk_of: Disk, place: Place, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = disk_of(kib)
    monkeypatch.setenv("TMPDIR", str(disk))
    done = run_edgemm(
        "convert", models / "cnn.keras", "--calibration", models / "images.npz", "--eval", models / "labelled.npz",
        "-o", "cnn.edgemm", at=place,
    )  # fmt: skip
    refuses(done, 1, str(disk), "TMPDIR")
    assert list(disk.iterdir()) == []
    assert not (place.folder / "cnn.edgemm").exists()


def test_a_disk_without_room_for_the_bundle_keeps_no_report_of_it(disk_of: Disk, place: Place, models: Path) -> None:
    disk = disk_of(28)
    done = run_edgemm(
        "convert", models / "cnn.keras", "--target", "onnx", "--report", disk / "page.html", "-o", disk / "cnn.edgemm",
        at=place,
    )  # fmt: skip
    refuses(done, 1, "No space left", str(disk))
    assert list(disk.iterdir()) == []
