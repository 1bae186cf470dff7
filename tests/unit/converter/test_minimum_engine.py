"""Which engine is new enough for a TFLite file: what its metadata say, where they are of this very file."""

from __future__ import annotations

from pathlib import Path

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgemm_converter import flatbuffer
from simulators.models import Dense, model_file


@pytest.mark.parametrize(
    ("name", "minimum"),
    [
        ("pretrainedResnet.tflite", "0.1.5.0"),
        ("pretrainedResnet_quant.tflite", "0.1.5.0"),
        ("str_ww_ref_model.tflite", "0.1.14.0"),
    ],
)
def test_published_files_run_in_what_came_before_litert(shared: Path, name: str, minimum: str) -> None:
    assert flatbuffer.minimum_engine((shared / "models" / "mlperf-tiny" / name).read_bytes()) == minimum


def test_integers_in_operations_that_speak_of_floats_need_litert(shared: Path) -> None:
    """A quantizer that rewrites tensors alone leaves the versions and the metadata of the float file."""
    data = (shared / "models" / "mlperf-tiny" / "pretrainedResnet_quant.tflite").read_bytes()
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    for code in model.operatorCodes:
        code.version = 1
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    assert flatbuffer.minimum_engine(bytes(builder.Output())) == "1.0.0"


def test_a_file_that_says_nothing_needs_the_litert_that_edgemm_is_made_for() -> None:
    assert flatbuffer.minimum_engine(model_file(Dense.random(0), "tflite:float32")) == "2.1.0"
