"""Which columns of an output have one constant range, as the float TFLite file tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgemm.bundle.manifest import DType, VariantTensor
from edgemm_converter.children.protocol import ExportedVariant, KnownUnits
from edgemm_converter.data.arrays import Array
from edgemm_converter.formats import output_units

WHOLE, OF_ONE = (KnownUnits(axis=None, of_one=(of_one,)) for of_one in (False, True))
FUSED = {"ADD": schema.AddOptionsT, "MUL": schema.MulOptionsT, "FULLY_CONNECTED": schema.FullyConnectedOptionsT}


class Graph:
    """A file of a few operations on an input `x`: each makes one tensor, named by its place."""

    def __init__(self, *shape: int) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]
        self.x = self.tensor(shape)

    def tensor(self, shape: tuple[int, ...], values: Array | None = None) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.name, tensor.buffer = list(shape), f"t{len(self.graph.tensors)}".encode(), 0
        tensor.type = schema.TensorType.FLOAT32
        if values is not None:
            tensor.type = schema.TensorType.INT32 if values.dtype.kind == "i" else schema.TensorType.FLOAT32
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, *values: float) -> int:
        return self.tensor((len(values),), np.array(values, np.float32))

    def op(self, kind: str, *inputs: int, shape: tuple[int, ...], options: Mapping[str, Any] | None = None) -> int:
        code, op = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        op.opcodeIndex, op.inputs = len(self.model.operatorCodes), list(inputs)
        self.model.operatorCodes.append(code)
        made = self.tensor(shape)
        op.outputs = [made]
        name = "".join(part.capitalize() for part in kind.split("_")) + "Options"
        if options:
            op.builtinOptions = getattr(schema, f"{name}T")()
            op.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            for key, value in options.items():
                setattr(op.builtinOptions, key, value)
        self.graph.operators.append(op)
        return made

    def concat(self, *inputs: int, axis: int, shape: tuple[int, ...]) -> int:
        return self.op("CONCATENATION", *inputs, shape=shape, options={"axis": axis})

    def units(self, output: int) -> KnownUnits | None:
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        shape = tuple(self.graph.tensors[output].shape)
        tensor = VariantTensor(name="y", tensor=f"t{output}", dtype=DType.FLOAT32, shape=shape)
        variant = ExportedVariant(id="tflite:float32", file="", minimum_engine="2.1", inputs=(), outputs=(tensor,))
        return output_units.known_units(bytes(builder.Output()), variant).get("y")


@pytest.mark.parametrize("kind", ["LOGISTIC", "TANH", "SOFTMAX", "L2_NORMALIZATION", "RELU6"])
def test_an_activation_with_bounds_makes_one_unit(kind: str) -> None:
    graph = Graph(1, 3)
    rounds_around_one = kind in ("LOGISTIC", "TANH", "SOFTMAX")
    assert graph.units(graph.op(kind, graph.x, shape=(1, 3))) == (OF_ONE if rounds_around_one else WHOLE)


@pytest.mark.parametrize("kind", ["RELU", "EXP", "ELU"])
def test_one_without_bounds_tells_nothing(kind: str) -> None:
    graph = Graph(1, 3)
    assert graph.units(graph.op(kind, graph.x, shape=(1, 3))) is None


def test_a_scalar_keeps_one_unit_and_a_factor_for_each_column_does_not() -> None:
    graph = Graph(1, 3)
    scores = graph.op("LOGISTIC", graph.x, shape=(1, 3))
    assert graph.units(graph.op("MUL", scores, graph.constant(255.0), shape=(1, 3))) == WHOLE
    assert graph.units(graph.op("MUL", scores, graph.constant(1.0, 1.0, 255.0), shape=(1, 3))) is None
    assert graph.units(graph.op("MUL", scores, graph.x, shape=(1, 3))) is None


def test_a_fused_activation_is_seen() -> None:
    graph = Graph(1, 3)
    relu6 = {"fusedActivationFunction": schema.ActivationFunctionType.RELU6}
    relu = {"fusedActivationFunction": schema.ActivationFunctionType.RELU}
    assert graph.units(graph.op("ADD", graph.x, graph.x, shape=(1, 3), options=relu6)) == WHOLE
    assert graph.units(graph.op("ADD", graph.x, graph.x, shape=(1, 3), options=relu)) is None


def test_a_clip_by_two_constants_is_one_range() -> None:
    graph = Graph(1, 3)
    low = graph.op("MAXIMUM", graph.x, graph.constant(0.0), shape=(1, 3))
    assert graph.units(low) is None
    assert graph.units(graph.op("MINIMUM", low, graph.constant(1.0), shape=(1, 3))) == WHOLE


def test_what_is_put_together_is_told_apart() -> None:
    graph = Graph(1, 4)
    boxes = graph.op("FULLY_CONNECTED", graph.x, shape=(1, 4))
    scores = graph.op("LOGISTIC", graph.x, shape=(1, 4))
    assert graph.units(graph.concat(boxes, scores, axis=-1, shape=(1, 8))) == KnownUnits(
        axis=1, spans=((4, 8),), of_one=(True,)
    )
    assert graph.units(graph.concat(scores, scores, axis=1, shape=(1, 8))) == OF_ONE
    angles = graph.op("TANH", graph.x, shape=(1, 4))
    widened = graph.op("MUL", angles, graph.constant(90.0), shape=(1, 4))
    assert graph.units(graph.concat(scores, widened, axis=1, shape=(1, 8))) == KnownUnits(
        axis=1, spans=((0, 4), (4, 8)), of_one=(True, False)
    )
    assert graph.units(graph.concat(boxes, boxes, axis=1, shape=(1, 8))) is None


def test_levels_of_a_detector_keep_their_columns() -> None:
    graph = Graph(1, 5, 4)
    scores = graph.op("LOGISTIC", graph.op("FULLY_CONNECTED", graph.x, shape=(1, 5, 2)), shape=(1, 5, 2))
    level = graph.concat(graph.x, scores, axis=2, shape=(1, 5, 6))
    both = graph.concat(level, level, axis=1, shape=(1, 10, 6))
    assert graph.units(both) == KnownUnits(axis=2, spans=((4, 6),), of_one=(True,))
    order = graph.tensor((3,), np.array([0, 2, 1], np.int32))
    turned = graph.op("TRANSPOSE", both, order, shape=(1, 6, 10))
    assert graph.units(turned) == KnownUnits(axis=1, spans=((4, 6),), of_one=(True,))
    flat = graph.op("RESHAPE", both, shape=(1, 60))
    assert graph.units(flat) is None
    deeper = graph.op("RESHAPE", both, shape=(1, 2, 5, 6))
    assert graph.units(deeper) == KnownUnits(axis=3, spans=((4, 6),), of_one=(True,))
