"""Outputs of several units: int8 that would lose one becomes mixed precision, or is not made."""

from pathlib import Path

import pytest

from edgemm.bundle.manifest import DType
from tests.unit.converter.conftest import Conversions, Convert

pytestmark = pytest.mark.tensorflow


def test_scores_beside_boxes_keep_apart_in_a_float_tail(converted: Convert, models: Path) -> None:
    found = converted(
        "detector.keras", "--target", "tflite", "--calibration", models / "numbers.npz", "--report", "report.html"
    )
    mixed, exact = found.manifest.variants
    assert (mixed.id, exact.id) == ("tflite:mixed", "tflite:float32")
    assert mixed.inputs[0].dtype is DType.INT8
    assert mixed.float_layers
    left_out, warnings = found.summary["left_out"], found.summary["warnings"]
    assert isinstance(left_out, dict)
    assert isinstance(warnings, list)
    assert "output 'found', columns 4 to 6: the mean error is" in left_out["tflite:int8"]
    assert f"tflite:mixed, in which {mixed.float_layers[0]}" in left_out["tflite:int8"]
    assert any(text.startswith("tflite:mixed is in the place of tflite:int8") for text in warnings)

    tolerance = found.manifest.golden.tolerance["tflite:mixed"]["found"]
    [scores] = tolerance.columns or ()
    assert (scores.axis, scores.start, scores.stop) == (1, 4, 7)
    assert scores.max_abs < 0.1 < tolerance.max_abs
    [run] = [p for p in found.manifest.parity if p.variant == "tflite:mixed" and p.data == "calibration"]
    figures = run.outputs[0].columns or ()
    assert [(c.start, c.stop) for c in figures] == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 7)]
    assert all(c.mean_abs < 0.25 * c.deviation for c in figures)
    page = (found.path.parent / "report.html").read_text()
    assert "By column" in page
    assert 'data-label="column" class="number">4 to 6<' in page


def test_the_search_passes_over_what_loses_a_column(converted: Convert, models: Path) -> None:
    found = converted(
        "detector.keras", "--target", "tflite", "--calibration", models / "numbers.npz", "--precision", "auto",
        "--eval", models / "numbers-exact.npz", "--metric", "mse", "--max-drop", "1000",
    )  # fmt: skip
    assert [v.id for v in found.manifest.variants] == ["tflite:int8-dynamic"]
    trials = found.summary["trials"]
    assert isinstance(trials, list)
    assert trials[0]["precision"] == "int8"
    assert "columns 4 to 6" in trials[0]["refused"]


def test_where_nothing_helps_a_named_variant_is_refused_and_another_left_out(
    conversions: Conversions, converted: Convert, models: Path, tmp_path: Path
) -> None:
    options = ("--target", "tflite", "--calibration", models / "numbers.npz")
    error = conversions.refused(models / "loads.keras", *options, "--precision", "int8", folder=tmp_path, status=1)
    assert "tflite:int8, output 'power', column 0: the mean error is" in error
    assert "it is not smaller than the float file" in error
    found = converted("loads.keras", *options)
    assert [v.id for v in found.manifest.variants] == ["tflite:float32"]
    left_out = found.summary["left_out"]
    assert isinstance(left_out, dict)
    assert "column 0" in left_out["tflite:int8"]
