"""The ranges that a model learned in training, read from the limits that it keeps in a float TFLite file. Pure.

A value that FakeQuant limited is limited by Maximum and Minimum in the file. An integer tensor holds nothing beyond its
range anyway, so that for integers the two operations go, and their limits become the range of what they limited.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgemm_converter.data.arrays import Array

_MARK = b"FakeQuant"
_IDENTIFIER = b"TFL3"
_RECTIFIED = (schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.RELU6)
_RECTIFIERS = (schema.BuiltinOperator.RELU, schema.BuiltinOperator.RELU6)


@dataclass(frozen=True)
class Learned:
    """A float file without the limits of its values, and the range of each value that was limited, by tensor."""

    file: bytes
    ranges: dict[str, tuple[float, float]]


def taken_out(file: bytes) -> Learned:
    """Take out the limits of the main graph of a file; a file that has none stays as it is.

    A limit stays where its value is used besides, or where it leaves out zero, which a range of integers holds.
    """
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    graph = model.subgraphs[0]
    if not any(_MARK in tensor.name for tensor in graph.tensors):
        return Learned(file, {})
    ranges: dict[str, tuple[float, float]] = {}
    taken = Counter(i for operator in graph.operators for i in operator.inputs) + Counter(graph.outputs)
    makers = {operator.outputs[0]: operator for operator in graph.operators}
    gone: list[Any] = []
    for last in graph.operators:
        if _kind(model, last) != schema.BuiltinOperator.MINIMUM:
            continue
        before = makers.get(last.inputs[0])
        low, both = _below(model, graph, before)
        value = both[0].inputs[0] if both else last.inputs[0]
        high = _constant(model, graph, last.inputs[1])
        if low is None or high is None or not low <= 0 <= high or not _is_marked(graph, last, *both):
            continue
        if taken[value] > 1 or taken[last.inputs[0]] > 1:
            continue
        ranges[graph.tensors[value].name.decode()] = (low, high)
        _put(graph, model, value, in_place_of=last.outputs[0])
        gone += [last, *both]
    graph.operators = [operator for operator in graph.operators if not any(operator is one for one in gone)]
    return Learned(_packed(model), ranges) if gone else Learned(file, {})


def _below(model: Any, graph: Any, before: Any) -> tuple[float | None, list[Any]]:
    """Return the limit below that an operation sets, and the operation where it does nothing else; ReLU has it too."""
    if before is None:
        return None, []
    if _kind(model, before) == schema.BuiltinOperator.MAXIMUM:
        return _constant(model, graph, before.inputs[1]), [before]
    activation = getattr(before.builtinOptions, "fusedActivationFunction", None)
    rectified = activation in _RECTIFIED or _kind(model, before) in _RECTIFIERS
    return (0.0 if rectified else None), []


def _is_marked(graph: Any, *operators: Any) -> bool:
    """Tell whether a limit was FakeQuant's; what a graph ends in has another name."""
    made = [operator.outputs[0] for operator in operators]
    return made[0] in graph.outputs or any(_MARK in graph.tensors[i].name for i in made)


def _kind(model: Any, operator: Any) -> int:
    code = model.operatorCodes[operator.opcodeIndex]
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def _constant(model: Any, graph: Any, index: int) -> float | None:
    tensor = graph.tensors[index]
    data = model.buffers[tensor.buffer].data
    if tensor.type != schema.TensorType.FLOAT32 or data is None or len(data) != np.float32().itemsize:
        return None
    values: Array = np.asarray(data, np.uint8).view(np.float32)
    return float(values[0])


def _put(graph: Any, model: Any, value: int, *, in_place_of: int) -> None:
    for operator in graph.operators:
        operator.inputs = [value if i == in_place_of else i for i in operator.inputs]
    graph.outputs = [value if i == in_place_of else i for i in graph.outputs]
    for signature in model.signatureDefs or ():
        for output in signature.outputs:
            if output.tensorIndex == in_place_of:
                output.tensorIndex = value


def _packed(model: Any) -> bytes:
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())
