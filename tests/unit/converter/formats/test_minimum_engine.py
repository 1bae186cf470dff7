"""Which engine is new enough for a TFLite file: for floats what its metadata say, for integers LiteRT."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemm_converter.formats import tflite_file
from simulators.models import Dense, model_file


@pytest.mark.parametrize(
    ("name", "minimum"),
    [
        ("ad01_fp32.tflite", "0.1.5.0"),
        ("pretrainedResnet.tflite", "0.1.5.0"),
        ("pretrainedResnet_quant.tflite", "1.0.0"),
        ("str_ww_ref_model.tflite", "1.0.0"),
    ],
)
def test_published_files_of_floats_run_in_what_came_before_litert(shared: Path, name: str, minimum: str) -> None:
    assert tflite_file.minimum_engine((shared / "models" / "mlperf-tiny" / name).read_bytes()) == minimum


def test_a_file_that_says_nothing_needs_the_litert_that_edgemm_is_made_for() -> None:
    assert tflite_file.minimum_engine(model_file(Dense.random(0), "tflite:float32")) == "2.1.0"
