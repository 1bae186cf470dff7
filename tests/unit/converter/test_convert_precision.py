"""Precisions, the gate, and the search for the smallest variant, on real conversions."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgemm.bundle import open_bundle
from edgemm.bundle.manifest import DType, Precision
from tests.unit.converter.conftest import Conversions, Convert

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="session")
def outlier(models: Path) -> tuple[object, ...]:
    return ("outlier.keras", "--target", "tflite", "--calibration", models / "rows.npz",
            "--eval", models / "rows-labelled.npz")  # fmt: skip


def test_every_precision_is_what_it_says_in_the_file_and_runs(converted: Convert, models: Path) -> None:
    wanted = ("int16x8", "int8-weights", "int4-weights")
    options = [text for precision in wanted for text in ("--precision", precision)]
    found = converted("cnn.keras", *options, "--calibration", models / "images.npz").manifest
    assert [v.id for v in found.variants] == [f"tflite:{p}" for p in wanted]
    edges = {v.precision: {t.dtype for t in v.inputs + v.outputs} for v in found.variants}
    assert edges == {
        Precision.INT16X8: {DType.INT16}, Precision.INT8_WEIGHTS: {DType.FLOAT32},
        Precision.INT4_WEIGHTS: {DType.FLOAT32},
    }  # fmt: skip
    sizes = [found.blobs[v.blob].size for v in found.variants]
    assert sizes[2] < sizes[1]


def test_an_index_of_the_largest_value_is_found_in_int8_too(converted: Convert, models: Path) -> None:
    options = ("--target", "tflite", "--precision", "int8", "--calibration", models / "steps.npy")
    found = converted("choosing.keras", *options).manifest
    assert [v.id for v in found.variants] == ["tflite:int8"]
    assert {t.name: t.dtype for t in found.variants[0].outputs} == {"next": DType.INT8, "best": DType.INT32}


def test_an_output_that_a_float_operation_takes_too_is_found(converted: Convert, models: Path) -> None:
    options = ("--target", "tflite", "--precision", "int8", "--calibration", models / "steps.npy")
    done = converted("shared-output.keras", *options)
    [variant] = done.manifest.variants
    assert {t.name: t.dtype for t in variant.outputs} == dict.fromkeys(("scores", "powers", "next"), DType.INT8)
    warnings = done.summary["warnings"]
    assert isinstance(warnings, list)
    [warned] = [text for text in warnings if "in float" in text]
    assert re.match(r"tflite:int8 computes EXP at .+ in float between its integers", warned), warned


@pytest.mark.parametrize("model", ["wide-lstm.keras", "wide-gru.keras"])
def test_recurrent_models_become_int8_around_float_states(model: str, converted: Convert, models: Path) -> None:
    options = ("--precision", "int8", "--precision", "float32", "--calibration", models / "steps.npy")
    found = converted(model, "--target", "tflite", *options).manifest
    small, exact = found.variants
    assert {t.dtype for t in small.inputs + small.outputs} == {DType.INT8}
    assert found.blobs[small.blob].size < 0.5 * found.blobs[exact.blob].size
    assert max(o.mean_abs / o.range for p in found.parity if p.variant == small.id for o in p.outputs) < 0.02


def test_mixed_precision_leaves_the_layer_float_that_hurts(converted: Convert, outlier: tuple[object, ...]) -> None:
    found = converted(*outlier, "--precision", "auto", "--precision", "float32", "--max-drop", "0.02")
    assert [v.id for v in found.manifest.variants] == ["tflite:mixed", "tflite:float32"]
    trials = found.summary["trials"]
    assert isinstance(trials, list)
    assert len(trials) <= 12
    assert all(t["drop"] is None or t["drop"] > 0.02 for t in trials[:-1] if t["precision"] != "mixed")
    assert "outlier" in trials[-1]["float_layers"][0]
    sizes = {v.precision: found.manifest.blobs[v.blob].size for v in found.manifest.variants}
    assert sizes[Precision.MIXED] < 0.75 * sizes[Precision.FLOAT32]
    assert found.manifest.evaluation is not None
    assert found.manifest.evaluation.drops["tflite:mixed"].value <= 0.02


def test_the_gate_stops_a_bundle_and_says_by_how_much(
    outlier: tuple[object, ...], models: Path, conversions: Conversions, tmp_path: Path
) -> None:
    source, *options = outlier
    run = conversions.run(
        models / str(source), *options, "--precision", "int8-weights", "--max-drop", "0.02", folder=tmp_path
    )
    assert run.status == 1
    assert re.search(r"tflite:int8-weights(: accuracy is .* too much|, output)", run.error), run.error
    assert list(tmp_path.iterdir()) == []


def test_int8_is_enough_for_a_plain_cnn(converted: Convert, models: Path) -> None:
    found = converted(
        "cnn.keras", "--precision", "auto", "--calibration", models / "images.npz", "--eval", models / "labelled.npz",
        "--max-drop", "0.05",
    )  # fmt: skip
    assert [v.id for v in found.manifest.variants] == ["tflite:int8", "onnx:float32"]
    warnings = found.summary["warnings"]
    assert isinstance(warnings, list)
    for wanted in ("48 of 48 evaluation samples are calibration samples too", "48 samples cannot show"):
        assert any(wanted in warning for warning in warnings), warnings


def test_nothing_that_fits_names_the_guilty_layer(models: Path, conversions: Conversions, tmp_path: Path) -> None:
    run = conversions.run(
        models / "outlier.keras", "--target", "tflite", "--precision", "auto", "--eval", models / "rows-exact.npz",
        "--metric", "mse", "--max-drop", "0", folder=tmp_path,
    )  # fmt: skip
    assert run.status == 1, run.stderr
    assert "no variant smaller than float32 keeps mse within a drop of 0" in run.error
    assert "most of the error arises in layer outlier" in run.error
    assert not list(tmp_path.glob("*.edgemm"))


def test_a_folder_of_images_calibrates_through_the_declared_steps(
    models: Path, conversions: Conversions, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for name in "0123456789":
        for i in range(3):
            (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (12, 16), np.uint8)).save(tmp_path / "data" / name / f"{i}.png")
    steps = '[image]\nresize = {width = 8, height = 8, fit = "crop"}\nchannels = "gray"\nscale = 0.0078\nmean = [1]\n'
    (tmp_path / "steps.toml").write_text(steps)
    run = conversions.run(
        models / "cnn.keras", "--target", "tflite", "--calibration", "data", "--eval", "data", "--metric", "auc",
        "--preprocess", "steps.toml", "--report", "report.html", "--json", folder=tmp_path,
    )  # fmt: skip
    assert run.status == 0, run.stderr
    with open_bundle(tmp_path / json.loads(run.stdout)["path"]) as bundle:
        assert bundle.manifest.preprocessing is not None
        assert bundle.manifest.preprocessing["image"].mean == (1.0,)
        assert bundle.manifest.evaluation is not None
        assert bundle.manifest.evaluation.metric == "auc"
        card = bundle.read(bundle.manifest.documents["model-card"]).decode()
        assert "| auc, 30 samples |" in card
    page = (tmp_path / "report.html").read_text()
    assert "Error by layer" in page
    assert "median run here" in page


def test_a_report_beside_the_bundle_that_this_one_follows(
    models: Path, conversions: Conversions, tmp_path: Path
) -> None:
    before = conversions.run(models / "cnn.keras", "--target", "onnx", "--json", folder=tmp_path)
    digest = json.loads(before.stdout)["digest"]
    run = conversions.run(
        models / "cnn.keras", "--target", "onnx", "--eval", models / "labelled.npz", "--version", "0.2.0",
        "--parent", "cnn-0.1.0.edgemm", "--report", "page.html", folder=tmp_path,
    )  # fmt: skip
    assert run.status == 0, run.stderr
    with open_bundle(tmp_path / "cnn-0.2.0.edgemm") as bundle:
        assert bundle.manifest.lineage.parent == digest
    (change,) = json.loads((tmp_path / "page.json").read_bytes())["changes"]
    assert change["metric_before"] == change["metric"] is not None
    assert change["size_before"] == change["size"]
    assert change["p50_ms_before"] > 0
    assert "Since 0.1.0" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--parent", "text.edgemm"), 1, "text.edgemm: expected a bundle"),
        (("--parent", "m.edgemm", "-o", "m.edgemm"), 2, "--parent m.edgemm: the bundle would be written over it"),
        (("--report", "page.json"), 2, "--report page.json: expected a file of its own such as page.html"),
    ],
)
def test_a_parent_or_report_that_can_never_work(
    models: Path, conversions: Conversions, tmp_path: Path, *, options: tuple[str, ...], status: int, message: str
) -> None:
    (tmp_path / "text.edgemm").write_text("hello")
    assert message in conversions.refused(models / "cnn.keras", *options, folder=tmp_path, status=status)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--eval", "labelled.npz", "--eval-output", "nose"),
            "the model has no output 'nose' to evaluate; it has digit",
        ),
        (("--precision", "auto"), "precision auto needs --eval"),
        (("--max-drop", "0.1"), "--max-drop needs --eval"),
        (("--calibration", "big.npz", "--eval", "labelled.npz"), "scale both as the model expects"),
        (("--preprocess", "steps.toml"), "pre-processing is declared for 'picture'; the model's inputs are image"),
        (("--eval", "many.npz"), "expected labels from 0 to 9, found 3 to 12"),
    ],
)
def test_data_and_options_that_do_not_fit(
    options: tuple[str, ...], message: str, models: Path, conversions: Conversions, tmp_path: Path
) -> None:
    with np.load(models / "labelled.npz") as data:
        images = data["image"]
        np.savez(tmp_path / "big.npz", image=images * 255)
        np.savez(tmp_path / "many.npz", image=images, labels=np.clip(np.arange(48), 3, 12))
        np.savez(tmp_path / "labelled.npz", **data)
    (tmp_path / "steps.toml").write_text("[picture]\nscale = 1.0\n")
    run = conversions.run(models / "cnn.keras", "--target", "tflite", *options, folder=tmp_path)
    assert run.status == 2, run.stderr
    assert message in run.error
    assert not list(tmp_path.glob("*.edgemm"))


def test_narrow_calibration_data_say_how_many_values_are_cut_off(
    models: Path, conversions: Conversions, tmp_path: Path
) -> None:
    with np.load(models / "images.npz") as images:
        np.savez(tmp_path / "narrow.npz", **{name: array / 5 for name, array in images.items()})
    options = ("--target", "tflite", "--precision", "int8", "--json", "--no-cache")
    data = ("--calibration", tmp_path / "narrow.npz", "--eval", models / "labelled.npz")
    done = conversions.run(models / "cnn.keras", *options, *data, folder=tmp_path)
    assert done.status == 0, done.stderr
    first = json.loads(done.stdout)["warnings"][0]
    assert re.match(
        r"tflite:int8 cuts off [\d,]+ of [\d,]+ values \(\d+\.\d%\) of input '\w+' in the evaluation", first
    )
