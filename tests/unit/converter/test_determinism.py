"""The same bytes in every process, for every precision and engine, and for the bundle around them."""

import shutil
from pathlib import Path

import pytest

from benchmarks import determinism
from benchmarks.determinism import Case
from edgemm_converter.job import variant_plan
from tests.unit.converter.conftest import Conversions

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.exhaustive]


@pytest.fixture
def sources(models: Path, tmp_path: Path) -> Path:
    """A folder with the models and their data, to which the benchmark may write."""
    for case in determinism.CASES:
        for name in filter(None, (case.model, case.calibration)):
            shutil.copy(models / name, tmp_path)
    return tmp_path


def test_every_precision_is_compared() -> None:
    assert set(determinism.PRECISIONS) == set(map(str, variant_plan.PRECISIONS))


@pytest.mark.parametrize("case", determinism.CASES, ids=lambda case: case.model)
def test_processes_with_other_hash_seeds_make_the_same_bytes(case: Case, sources: Path) -> None:
    found = determinism.digests_of(case, sources, processes=2)  # the benchmark has twenty
    assert {"bundle", "onnx:float32", *(f"tflite:{precision}" for precision in case.precisions)} == set(found)
    assert {name: len(digests) for name, digests in found.items()} == dict.fromkeys(found, 1)


def test_a_difference_would_be_told(
    sources: Path, conversions: Conversions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def dated(case: Case, folder: Path, path: Path, *, seed: int) -> None:
        done = conversions.run(
            folder / case.model, "-o", path, "--no-cache", "--precision", *case.precisions,
            folder=folder, SOURCE_DATE_EPOCH=str(seed),
        )  # fmt: skip
        assert done.status == 0, done.stderr

    monkeypatch.setattr(determinism, "convert", dated)
    monkeypatch.setattr(determinism, "CASES", (Case("cnn.keras", ("float32",)),))
    monkeypatch.setattr("sys.argv", ["determinism", str(sources), "--processes", "2"])
    with pytest.raises(SystemExit) as ended:
        determinism.main()
    assert ended.value.code == 1
    said = capsys.readouterr().out
    assert "| cnn.keras | bundle | 2 |" in said
    assert "| cnn.keras | tflite:float32 | 1 |" in said
