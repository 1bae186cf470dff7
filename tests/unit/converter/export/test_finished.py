"""Finished files: without what an engine finds them by, and the edge inputs on which they are run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgemm.bundle.manifest import DType, Precision, VariantTensor
from edgemm.errors import InputError
from edgemm_converter.children import array_files
from edgemm_converter.children.protocol import ExportRequest, SetKind, StagedData
from edgemm_converter.data.arrays import Array
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


def _edges(folder: Path, nodes: list[Any], *, data: Array | None = None) -> Array | None:
    """Return the integers [runs, 1, 4] of the edge inputs on which a finished ONNX file is run."""
    table = numpy_helper.from_array(np.arange(4, dtype=np.float32), "table")
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.INT32, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])], [table],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    staged = None
    if data is not None:
        np.savez(folder / "data.npz", x=data)
        staged = StagedData(file=str(folder / "data.npz"), shown="data.npz")
    request = ExportRequest(source=str(folder / "m.onnx"), format="onnx", variants=(), calibration=staged)
    made = finished.export(request, folder, lambda _stage: None)
    given = next((s for s in made.sets if s.kind is SetKind.EDGE), None)
    return array_files.load(given.inputs, folder)["x"] if given is not None else None


CAST = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)]
LOOK_UP = [helper.make_node("Gather", ["table", "x"], ["y"])]


def test_integers_that_are_no_indices_are_run_at_all_edges(tmp_path: Path) -> None:
    found = _edges(tmp_path, CAST)
    assert found is not None
    assert found.min() < -1000
    assert found.max() > 1000


def test_indices_stay_within_what_the_file_is_known_to_take(tmp_path: Path) -> None:
    found = _edges(tmp_path, LOOK_UP)
    assert found is not None
    assert (found.min(), found.max()) == (0, 3)
    found = _edges(tmp_path, LOOK_UP, data=np.array([[0, 1, 1, 0], [2, 1, 0, 1]] * 4, np.int32))
    assert found is not None
    assert (found.min(), found.max()) == (0, 2)
