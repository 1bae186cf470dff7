"""What a file is, read from the file itself by the device's engine."""

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from edgemm.bundle import open_bundle
from edgemm.bundle.manifest import Manifest
from tests.e2e.converter.conftest import SEVEN

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


@pytest.fixture(scope="session")
def bundled(every_precision: Path) -> tuple[Manifest, Mapping[str, bytes]]:
    with open_bundle(every_precision / "cnn.edgemm") as bundle:
        return bundle.manifest, {digest: bundle.read(digest) for digest in bundle.manifest.blobs}


def opened(bundled: tuple[Manifest, Mapping[str, bytes]], precision: str) -> Interpreter:
    manifest, blobs = bundled
    (variant,) = [v for v in manifest.variants if v.id == f"tflite:{precision}"]
    found = Interpreter(model_content=blobs[variant.blob])
    found.allocate_tensors()
    return found


def dtypes(file: Interpreter) -> set[str]:
    return {np.dtype(t["dtype"]).name for t in file.get_tensor_details()}


def edges(file: Interpreter) -> set[str]:
    return {np.dtype(t["dtype"]).name for t in (*file.get_input_details(), *file.get_output_details())}


def test_all_seven_are_made(bundled: tuple[Manifest, Mapping[str, bytes]]) -> None:
    assert {v.id for v in bundled[0].variants} == {f"tflite:{p}" for p in SEVEN} | {"onnx:float32"}


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_full_integer_files_have_no_float_at_all(precision: str, bundled: tuple[Manifest, Mapping[str, bytes]]) -> None:
    file = opened(bundled, precision)
    assert not {name for name in dtypes(file) if name.startswith("float")}
    assert edges(file) == {"int8" if precision == "int8" else "int16"}


@pytest.mark.parametrize(
    ("precision", "weights"), [("float16", "float16"), ("int8-dynamic", "int8"), ("int8-weights", "int8")]
)
def test_files_of_float_arithmetic_have_small_weights(
    precision: str, weights: str, bundled: tuple[Manifest, Mapping[str, bytes]]
) -> None:
    file = opened(bundled, precision)
    assert edges(file) == {"float32"}
    assert weights in dtypes(file)
    large = [t for t in file.get_tensor_details() if t["name"] and np.prod(t["shape"]) >= 1000]
    assert large
    constants = {np.dtype(t["dtype"]).name for t in large if "kernel" in t["name"] or "MatMul" in t["name"]}
    assert weights in constants or not constants


def test_golden_samples_allow_one_step_of_int8_more_than_here(
    bundled: tuple[Manifest, Mapping[str, bytes]],
) -> None:
    manifest, blobs = bundled
    file = opened(bundled, "int8")
    (given,), (answer,) = file.get_input_details(), file.get_output_details()
    images = np.load(io.BytesIO(blobs[manifest.golden.inputs["image"]]))
    expected = np.load(io.BytesIO(blobs[manifest.golden.outputs["digit"]]))
    scale, zero = given["quantization"]
    step, out_zero = answer["quantization"]
    off = 0.0
    for image, wanted in zip(images, expected, strict=True):
        file.set_tensor(given["index"], np.clip(np.round(image / scale) + zero, -128, 127).astype(np.int8))
        file.invoke()
        found = (file.get_tensor(answer["index"]).astype(np.float64) - out_zero) * step
        off = max(off, float(np.abs(found - wanted).max()))
    tolerance = manifest.golden.tolerance["tflite:int8"]["digit"]
    assert off + step <= tolerance.max_abs <= off + 3 * step


def test_documents_are_valid_and_say_licence_and_data(bundled: tuple[Manifest, Mapping[str, bytes]]) -> None:
    manifest, blobs = bundled
    assert manifest.documents is not None
    bom = blobs[manifest.documents["ml-bom"]].decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bom) is None
    component = json.loads(bom)["metadata"]["component"]
    assert component["licenses"][0]["license"]["id"] == "Apache-2.0"
    card = blobs[manifest.documents["model-card"]].decode()
    for digest in (manifest.lineage.calibration_digest, manifest.lineage.evaluation_digest):
        assert digest is not None
        assert digest in bom
        assert digest in card
    assert manifest.lineage.source_digest in bom


def test_the_report_is_one_file_that_fetches_nothing(every_precision: Path) -> None:
    page = (every_precision / "cnn.html").read_text()
    assert all(mark not in page for mark in ("http:", "https:", "src=", "<link", "<script", "@import", "url("))
    for said in ("Variants", "Comparison with the source", "Error by layer", "Provenance", "prefers-color-scheme"):
        assert said in page
    for precision in SEVEN:
        assert f"tflite:{precision}" in page
