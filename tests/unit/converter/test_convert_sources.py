"""Sources that are not Keras 3's: Keras 2 by tf-keras, plain SavedModels, finished model files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgemm.bundle import open_bundle
from edgemm.bundle.manifest import DType, Manifest, Precision
from edgemm_runtime import engines
from tests.once import once
from tests.programs import ROOT, environment
from tests.unit.converter.conftest import Conversions, Convert, Converted, run_convert

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `simulators.keras2_models` filled, which imports TensorFlow in another way."""

    def build(folder: Path) -> None:
        subprocess.run(
            [sys.executable, "-m", "simulators.keras2_models", str(folder)],
            cwd=ROOT, env=environment(), check=True, capture_output=True,
        )  # fmt: skip

    return once(tmp_path_factory, "keras2_models", build)


def answer(found: Converted, variant_id: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    with open_bundle(found.path) as bundle:
        variant = bundle.manifest.variant(variant_id)
        return engines.load(variant, bundle.manifest.signature, bundle.read(variant.blob)).run(inputs)


def worst(manifest: Manifest) -> float:
    return max(o.relative for run in manifest.parity for o in run.outputs if not run.variant.endswith("int8"))


@pytest.mark.parametrize(("name", "shape"), [("str_ww_ref_model.h5", (30, 1, 40)), ("kws_ref_model", (49, 10, 1))])
def test_keras_2_reference_models_convert_to_all_variants(
    name: str, shape: tuple[int, ...], shared: Path, converted: Convert, tmp_path: Path
) -> None:
    np.save(tmp_path / "data.npy", np.random.default_rng(1).normal(size=(64, *shape)).astype(np.float32))
    found = converted(shared / "models" / "mlperf-tiny" / name, "--calibration", tmp_path / "data.npy")
    assert [v.id for v in found.manifest.variants] == ["tflite:int8", "tflite:float32", "onnx:float32"]
    assert worst(found.manifest) < 1e-5


@pytest.mark.parametrize("name", ["two2.h5", "two2.keras"])
def test_keras_2_inputs_and_outputs_go_by_name(name: str, others: Path, converted: Convert) -> None:
    found = converted(others / name)
    assert [t.name for t in found.manifest.signature.inputs] == ["left", "right"]
    assert {t.name for t in found.manifest.signature.outputs} == {"alpha", "zeta"}
    left, right = np.ones((2, 4), np.float32), np.zeros((2, 4), np.float32)
    lite, onnx = (answer(found, v.id, left=left, right=right) for v in found.manifest.variants)
    turned = answer(found, "onnx:float32", left=right, right=left)
    for output in ("alpha", "zeta"):
        assert np.abs(lite[output] - onnx[output]).max() < 1e-5
        assert np.abs(turned[output] - onnx[output]).max() > 0.1


def test_a_keras_2_lambda_runs_only_when_it_is_allowed(
    others: Path, converted: Convert, conversions: Conversions, tmp_path: Path
) -> None:
    found = conversions.refused(others / "lambda2.h5", folder=tmp_path)
    assert "Lambda layer lambda: it holds Python code that would run on loading; give --allow-lambda" in found
    assert worst(converted(others / "lambda2.h5", "--allow-lambda").manifest) < 1e-5


def test_one_of_several_signatures_is_named(
    others: Path, converted: Convert, conversions: Conversions, tmp_path: Path
) -> None:
    three = np.full((2, 3), 3, np.float32)
    for signature, factor in (("double", 2.0), ("half", 0.5)):
        found = converted(others / "plain", "--signature", signature)
        assert found.manifest.lineage.options["signature"] == signature
        for variant in found.manifest.variants:
            assert (answer(found, variant.id, x=three)["y"] == three * factor).all()
    message = "expected a signature 'serving_default', found double, half; choose one with --signature"
    assert message in conversions.refused(others / "plain", folder=tmp_path)
    assert "expected a signature 'third'" in conversions.refused(
        others / "plain", "--signature", "third", folder=tmp_path
    )


def test_an_open_shape_is_fixed_by_an_option(
    others: Path, converted: Convert, conversions: Conversions, tmp_path: Path
) -> None:
    assert "fix the inputs' with --input-shape NAME=" in conversions.refused(others / "any-rank", folder=tmp_path)
    wrong = conversions.refused(others / "any-rank", "--input-shape", "z=1,3", folder=tmp_path)
    assert "--input-shape z: expected one of the inputs x" in wrong
    found = converted(others / "any-rank", "--input-shape", "x=-1,3")
    assert found.manifest.signature.inputs[0].shape == (-1, 3)


@pytest.mark.parametrize("text", ["x", "x=1,two", "x=1,0", "=1,2"])
def test_input_shapes_that_are_none(text: str, tmp_path: Path) -> None:
    run = run_convert("model.keras", "--input-shape", text, folder=tmp_path)
    assert run.status == 2
    assert "expected NAME=1,224,224,3" in run.stderr


@pytest.mark.parametrize(
    ("name", "precision"),
    [("ad01_int8.tflite", Precision.INT8), ("ad01_fp32.tflite", Precision.FLOAT32)],
)
def test_a_finished_tflite_file_is_packaged_as_it_is(
    name: str, precision: Precision, shared: Path, converted: Convert
) -> None:
    file = shared / "models" / "mlperf-tiny" / name
    found = converted(file)
    (variant,) = found.manifest.variants
    assert variant.precision is precision
    assert {t.dtype for t in found.manifest.signature.inputs + found.manifest.signature.outputs} == {DType.FLOAT32}
    assert found.manifest.parity == ()
    with open_bundle(found.path) as bundle:
        assert bundle.read(variant.blob) == file.read_bytes()


def test_a_finished_onnx_file_is_packaged_as_it_is(converted: Convert, tmp_path: Path) -> None:
    source = converted("cnn.keras")
    with open_bundle(source.path) as bundle:
        data = bundle.read(bundle.manifest.variant("onnx:float32").blob)
    (tmp_path / "cnn.onnx").write_bytes(data)
    found = converted(tmp_path / "cnn.onnx")
    assert [v.id for v in found.manifest.variants] == ["onnx:float32"]
    assert found.manifest.signature == source.manifest.signature
    with open_bundle(found.path) as bundle:
        assert bundle.read(found.manifest.variants[0].blob) == data


def test_finished_files_that_are_damaged(
    shared: Path, converted: Convert, conversions: Conversions, tmp_path: Path
) -> None:
    lite = (shared / "models" / "mlperf-tiny" / "ad01_fp32.tflite").read_bytes()
    with open_bundle(converted("cnn.keras").path) as bundle:
        onnx = bundle.read(bundle.manifest.variant("onnx:float32").blob)
    (tmp_path / "cut.tflite").write_bytes(lite[: len(lite) // 2])
    (tmp_path / "cut.onnx").write_bytes(onnx[: len(onnx) // 2])
    (tmp_path / "empty.onnx").write_bytes(b"")
    assert "LiteRT cannot open the file: it is damaged" in conversions.refused("cut.tflite", folder=tmp_path)
    assert "the file is cut short or damaged" in conversions.refused("cut.onnx", folder=tmp_path)
    assert "found an empty file" in conversions.refused("empty.onnx", folder=tmp_path)


def test_a_finished_file_is_not_made_into_others(shared: Path, conversions: Conversions, tmp_path: Path) -> None:
    file = shared / "models" / "mlperf-tiny" / "ad01_fp32.tflite"
    assert "packaged as it is: leave --target" in conversions.refused(file, "--target", "onnx", folder=tmp_path)
