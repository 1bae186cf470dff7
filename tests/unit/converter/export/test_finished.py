"""Finished files without what an engine finds them by: their inputs, outputs and the names of these."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemm.bundle.manifest import DType, Precision, VariantTensor
from edgemm.errors import InputError
from edgemm_converter.export import finished
from edgemm_converter.job.targets import FinishedFile


def _sides(*names: str) -> tuple[VariantTensor, ...]:
    return tuple(
        VariantTensor(name=f"{i}", tensor=name, dtype=DType.FLOAT32, shape=(1, 4)) for i, name in enumerate(names)
    )


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ((), ("y",), "the file has no input: "),
        (("x",), (), "the file has no output: "),
        (("x", ""), ("y",), "expected inputs of different names, .*; found one without a name: export"),
        (("x",), ("y", "z", "y"), "expected outputs of different names, .*; found several of the name 'y': export"),
    ],
)
def test_a_file_that_cannot_be_served_is_refused(inputs: tuple[str, ...], outputs: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        finished._check_sides(
            Path("f.tflite"), FinishedFile(Precision.FLOAT32, "2.1.0", _sides(*inputs), _sides(*outputs))
        )


def test_an_input_and_an_output_may_have_one_name() -> None:
    finished._check_sides(Path("f.tflite"), FinishedFile(Precision.FLOAT32, "2.1.0", _sides("same"), _sides("same")))
