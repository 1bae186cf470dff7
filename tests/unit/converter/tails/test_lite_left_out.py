"""TFLite files of estimators that part from their source: left out beside the ONNX file, unless asked for by name."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from edgemm.bundle.manifest import DType, Precision, Variant, VariantTensor
from edgemm.errors import ParityError
from edgemm_converter.job import job
from edgemm_converter.job.job import ConversionJob
from edgemm_converter.job.options import ConversionOptions
from edgemm_converter.tails import parent as tails
from edgemm_converter.tails.parent import TailedRun
from edgemm_converter.verify.parent import EngineRun

TENSOR = VariantTensor(name="x", tensor="x", dtype=DType.FLOAT32, shape=(1, 2))
WORDS = "output 'value': on the edge input 'zeros' it answers something else; no bundle was written: leave it out"


def variant(engine: str) -> Variant:
    return Variant(
        id=f"{engine}:float32", engine=engine, precision=Precision.FLOAT32, minimum_engine="", blob="0" * 64,
        inputs=(TENSOR,), outputs=(TENSOR,),
    )  # fmt: skip


def asked(folder: Path, options: ConversionOptions) -> ConversionJob:
    (folder / "model.joblib").write_bytes(pickle.dumps({"coef": [1.0]}))
    return job.check(folder / "model.joblib", {"allow_pickle": True, "output": folder / "o.edgemm", **options})


def without(engine: str, given: ConversionJob, *engines: str) -> TailedRun:
    ran = TailedRun(EngineRun(tuple(map(variant, engines)), {}, (), {}, {}))
    return tails.without(ran, ParityError(f"{engine}:float32, {WORDS}"), given, where="", searched="")


def test_it_is_left_out_with_the_reason(tmp_path: Path) -> None:
    found = without("tflite", asked(tmp_path, {}), "onnx", "tflite")
    assert [one.id for one in found.ran.variants] == ["onnx:float32"]
    assert found.left_out["tflite:float32"].endswith("'zeros' it answers something else")
    assert found.warnings[0].endswith("give --target to insist")


@pytest.mark.parametrize(
    ("failed", "options", "engines"),
    [
        ("tflite", {"targets": ["onnx", "tflite"]}, ["onnx", "tflite"]),
        ("tflite", {}, ["tflite"]),
        ("onnx", {}, ["onnx", "tflite"]),
    ],
)
def test_what_was_asked_for_or_stands_alone_ends_the_conversion(
    failed: str, options: ConversionOptions, engines: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ParityError, match="it answers something else"):
        without(failed, asked(tmp_path, options), *engines)
