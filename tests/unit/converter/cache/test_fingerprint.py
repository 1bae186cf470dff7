"""What makes a conversion another one, and what does not."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgemm_converter.cache import fingerprint
from edgemm_converter.drafting import lineage
from edgemm_converter.job import job
from edgemm_converter.job.options import ConversionOptions


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    np.savez(tmp_path / "data.npz", input=np.zeros((4, 2), np.float32), labels=np.zeros(4, np.int64))
    return tmp_path / "data.npz"


def found(source: Path, options: ConversionOptions | None = None) -> str | None:
    return fingerprint.of(job.check(source, options or {}))


OPTIONS: dict[str, ConversionOptions] = {
    "name": {"name": "other"},
    "version": {"version": "0.2.0"},
    "target": {"targets": ["onnx"]},
    "precision": {"precisions": ["float16"]},
    "the default precision by name": {"precisions": ["float32"]},
    "labels": {"labels": ["a", "b"]},
    "lambda": {"allow_lambda": True},
    "signature": {"signature": "other"},
    "shape": {"input_shapes": {"x": (1, 2)}},
    "output of the metric": {"evaluated_output": "y"},
    "licence": {"licence": "CC0-1.0"},
    "report": {"report": "report.html"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_counts(
    name: str, source: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base: ConversionOptions = {"evaluation": data} if name == "output of the metric" else {}
    assert found(source, {**base, **OPTIONS[name]}) != found(source, base)


def test_data_count_by_their_content(source: Path, data: Path, tmp_path: Path) -> None:
    without, before = found(source), found(source, {"calibration": data})
    (tmp_path / "elsewhere").mkdir()
    moved = data.rename(tmp_path / "elsewhere" / "renamed.npz")
    assert without != before == found(source, {"calibration": moved})
    assert found(source, {"evaluation": moved}) not in (without, before)
    assert found(source, {"evaluation": moved, "metric": "f1"}) != found(source, {"evaluation": moved})
    assert found(source, {"evaluation": moved, "max_drop": 0.1}) != found(source, {"evaluation": moved})
    np.savez(moved, input=np.ones((4, 2), np.float32), labels=np.zeros(4, np.int64))
    assert found(source, {"calibration": moved}) != before


def test_one_byte_of_the_source_counts_and_so_does_its_name(source: Path, tmp_path: Path) -> None:
    before = found(source)
    renamed = source.rename(tmp_path / "second.h5")
    assert found(renamed, {"name": "model"}) != before  # the name stands in the bundle
    renamed.rename(source)
    assert found(source) == before
    with source.open("r+b") as file:
        file.seek(50)
        file.write(b"\x01")
    assert found(source) != before


def of_libraries(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lineage, "library_versions", lambda: {"tensorflow": "99"})


def of_commit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lineage, "git_commit", lambda: "0123456")


def of_date(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("SOURCE_DATE_EPOCH", "86400")


def of_tensorflow(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")


def of_cpu(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fingerprint, "_CPU_FIELDS", ())


@pytest.mark.parametrize("change", [of_libraries, of_commit, of_date, of_tensorflow, of_cpu])
def test_what_is_around_counts(
    change: Callable[[pytest.MonkeyPatch], None], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = found(source)
    assert found(source) == before
    change(monkeypatch)
    assert found(source) != before


def test_where_the_bundle_goes_does_not_count(source: Path, tmp_path: Path) -> None:
    assert found(source, {"output": tmp_path / "a.edgemm"}) == found(source, {"output": tmp_path / "b.edgemm"})


def test_custom_objects_are_converted_anew_each_time(source: Path) -> None:
    assert found(source, {"custom_objects": ["some.module"]}) is None


def test_the_code_that_makes_bundles_counts() -> None:
    root = Path(__file__).parents[4]
    counted = {file.resolve() for _, file in fingerprint.code_files()}
    made_by = [root / "core" / "edgemm", root / "converter" / "edgemm_converter"]
    runtime = root / "runtime"
    for file in (root / "converter").rglob("*.py"):
        for name in re.findall(r"from edgemm_runtime(\.\w+)", file.read_text()):
            if name != ".bench":  # measures for the report, and makes nothing
                made_by.append(runtime / f"edgemm_runtime{name.replace('.', '/')}")
    wanted = {path for folder in made_by for pattern in ("*.py", "*.html") for path in folder.rglob(pattern)}
    assert len(wanted) > 150
    assert counted >= wanted
