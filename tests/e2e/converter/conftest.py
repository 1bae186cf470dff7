"""Models, and conversions of them that several tests look at; each is done once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.disks import small_disk
from tests.e2e.processes import Done, Place, run_edgemm
from tests.once import once
from tests.programs import Forked, environment

SEVEN = ("float32", "float16", "int8", "int8-dynamic", "int16x8", "int8-weights", "int4-weights")
Convert = Callable[..., Done]


@pytest.fixture
def convert(place: Place, models: Path, forked: Forked) -> Convert:
    """Convert one of `models`, in an empty folder; names of files of theirs are found among the options."""

    def run(source: str, *options: str | Path) -> Done:
        found = [models / o if isinstance(o, str) and (models / o).exists() else o for o in options]
        env = place.environment(PYTHONPATH=environment()["PYTHONPATH"])
        done = forked.run("edgemm", "convert", models / source, *found, folder=place.folder, env=env)
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def every_precision(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `cnn.edgemm`, with all seven precisions and ONNX, and of `cnn.html`, its report."""
    wanted = [text for precision in SEVEN for text in ("--precision", precision)]

    def convert(folder: Path) -> None:
        done = run_edgemm(
            "convert", models / "cnn.keras", *wanted, "--calibration", models / "images.npz", "--eval",
            models / "labelled.npz", "--licence", "Apache-2.0", "--monitor", "off", "-o", "cnn.edgemm", "--report",
            "cnn.html",
            at=Place.make(folder), timeout_s=250,
        )  # fmt: skip
        assert done.status == 0, done

    return once(tmp_path_factory, "every precision", convert)


@pytest.fixture
def disk_of(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mount a file system of so many KiB."""
    with ExitStack() as stack:
        yield lambda kib: stack.enter_context(small_disk(tmp_path / "disk", size_bytes=kib * 2**10))
