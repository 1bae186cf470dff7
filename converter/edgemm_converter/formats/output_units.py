"""The units of a model's outputs, as far as its float TFLite file tells: which columns have one constant range.

An activation with bounds, such as a sigmoid, gives all that it is applied to one unit, and so does what only moves or
scales it as a whole. A concatenation puts several side by side. ReLU and the like have no upper bound: a head of them
may hold a share beside watts, so they tell nothing. Pure; reads the flatbuffer, and runs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgemm_converter.children.protocol import ExportedVariant, KnownUnits

_KINDS: dict[int, str] = {n: name for name, n in vars(schema.BuiltinOperator).items() if isinstance(n, int)}
_BOUNDED = {"LOGISTIC", "TANH", "SOFTMAX", "L2_NORMALIZATION", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "SIN", "COS"}
_BOUNDED |= {"ONE_HOT", "SIGN"}
_FUSED = {
    schema.ActivationFunctionType.RELU6: "RELU6", schema.ActivationFunctionType.RELU_N1_TO_1: "RELU_N1_TO_1",
    schema.ActivationFunctionType.TANH: "TANH", schema.ActivationFunctionType.SIGN_BIT: "SIGN",
}  # fmt: skip
_UNFUSED = schema.ActivationFunctionType.NONE
_MOVED = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "CAST", "IDENTITY", "DEQUANTIZE", "TRANSPOSE"}
_TAKEN = {"SLICE", "STRIDED_SLICE", "GATHER", "SPLIT", "SPLIT_V", "UNPACK", "MAX_POOL_2D", "AVERAGE_POOL_2D"}
_TAKEN |= {"MEAN", "REDUCE_MAX", "REDUCE_MIN", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2"}
_SCALED = {"ADD", "SUB", "MUL", "DIV", "MINIMUM", "MAXIMUM"}
_OF_ONE = {"LOGISTIC", "SOFTMAX", "TANH"}
_MAX_DEPTH = 64


@dataclass(frozen=True)
class _One:
    """A tensor of one unit: what bounds it, and what was done with it as a whole."""

    kind: str


@dataclass(frozen=True)
class _Parts:
    """A tensor that is put together along an axis; each span has one unit, and of what is between nothing is known."""

    axis: int
    spans: tuple[tuple[int, int], ...]
    kinds: tuple[str, ...]


_Found = _One | _Parts | None


def known_units(file: bytes, variant: ExportedVariant) -> dict[str, KnownUnits]:
    """Return what is known of the outputs of a float file, by name; an output of which nothing is known is left out."""
    graph = _Graph(file)
    found = {output.name: graph.units(output.tensor) for output in variant.outputs}
    return {name: _known(unit) for name, unit in found.items() if unit is not None}


def _known(unit: _One | _Parts) -> KnownUnits:
    if isinstance(unit, _One):
        return KnownUnits(axis=None, of_one=(unit.kind in _OF_ONE,))
    return KnownUnits(axis=unit.axis, spans=unit.spans, of_one=tuple(kind in _OF_ONE for kind in unit.kinds))


class _Graph:
    """The main graph of a file."""

    def __init__(self, file: bytes) -> None:
        self._model = schema.ModelT.InitFromPackedBuf(file, 0)
        self._graph = self._model.subgraphs[0]
        self._makers = {int(index): op for op in self._graph.operators for index in op.outputs}
        self._places = {t.name.decode(): i for i, t in enumerate(self._graph.tensors)}

    def units(self, tensor: str) -> _Found:
        """Return what is known of a tensor."""
        index = self._places.get(tensor)
        return None if index is None else self._of(index, depth=0)

    def _of(self, index: int, *, depth: int) -> _Found:
        op = self._makers.get(index)
        if op is None or depth > _MAX_DEPTH:
            return None
        kind = self._kind(op)
        fused = getattr(op.builtinOptions, "fusedActivationFunction", _UNFUSED)
        found: _Found = None
        if kind in _BOUNDED or fused in _FUSED:
            found = _One(kind if kind in _BOUNDED else _FUSED[fused])
        elif fused != _UNFUSED:
            found = None
        elif kind in ("CONCATENATION", "PACK"):
            found = self._joined(op, index, kind, depth=depth)
        elif kind in _SCALED:
            found = self._scaled(op, kind, depth=depth)
        elif kind in _MOVED or kind in _TAKEN:
            found = self._passed_on(op, index, kind, depth=depth)
        return found

    def _kind(self, op: Any) -> str:
        return _KINDS.get(int(self._model.operatorCodes[op.opcodeIndex].builtinCode), "")

    def _passed_on(self, op: Any, index: int, kind: str, *, depth: int) -> _Found:
        data = [int(i) for i in op.inputs if i >= 0 and self._constant(int(i)) is None]
        found = self._of(data[0], depth=depth + 1) if data else None
        if isinstance(found, _Parts):
            return self._moved(op, index, kind, found) if kind in _MOVED else None
        return found

    def _scaled(self, op: Any, kind: str, *, depth: int) -> _Found:
        """A scalar keeps one unit one; a constant for each column, or another tensor, does not."""
        constants = {int(i): self._constant(int(i)) for i in op.inputs}
        variable = [i for i, value in constants.items() if value is None]
        fixed = [value for value in constants.values() if value is not None]
        if len(variable) != 1 or any(np.unique(value).size != 1 for value in fixed):
            return None
        found = self._of(variable[0], depth=depth + 1)
        text = f" {kind} {float(fixed[0].flat[0]):g}" if fixed else f" {kind}"
        if isinstance(found, _One):
            return _One(found.kind + text)
        if found is None and kind in ("MINIMUM", "MAXIMUM") and self._clips(variable[0], kind):
            return _One("clip" + text)
        return found

    def _clips(self, index: int, kind: str) -> bool:
        """Tell whether a tensor is cut off at the other end by one constant already."""
        op = self._makers.get(index)
        if op is None:
            return False
        before = self._kind(op)
        if kind == "MINIMUM" and before == "RELU":
            return True
        values = [value for i in op.inputs if (value := self._constant(int(i))) is not None]
        other = "MAXIMUM" if kind == "MINIMUM" else "MINIMUM"
        return before == other and len(values) == 1 and np.unique(values[0]).size == 1

    def _joined(self, op: Any, index: int, kind: str, *, depth: int) -> _Found:
        inputs = [int(i) for i in op.inputs]
        found = [self._of(i, depth=depth + 1) for i in inputs]
        first = found[0]
        if first is not None and all(unit == first for unit in found):
            if isinstance(first, _One):
                return first
            if kind == "CONCATENATION" and op.builtinOptions.axis % len(self._shape(index)) != first.axis:
                return first
        if kind == "PACK":
            return None
        axis = op.builtinOptions.axis % len(self._shape(index))
        if any(self._is_open(i, axis) for i in inputs):
            return None
        spans: list[tuple[int, int]] = []
        kinds: list[str] = []
        at = 0
        for i, unit in zip(inputs, found, strict=True):
            width = self._shape(i)[axis]
            if isinstance(unit, _One):
                spans.append((at, at + width))
                kinds.append(unit.kind)
            elif isinstance(unit, _Parts) and unit.axis == axis:
                spans.extend((at + start, at + stop) for start, stop in unit.spans)
                kinds.extend(unit.kinds)
            at += width
        return _Parts(axis, tuple(spans), tuple(kinds)) if spans and at == self._shape(index)[axis] else None

    def _moved(self, op: Any, index: int, kind: str, found: _Parts) -> _Found:
        """Follow the axis along which a tensor was put together; lost where a new shape cuts across it."""
        before, after = self._shape(int(op.inputs[0])), self._shape(index)
        if kind == "TRANSPOSE":
            order = self._constant(int(op.inputs[1]))
            return None if order is None else replace(found, axis=order.tolist().index(found.axis))
        inner = math.prod(before[found.axis :])
        for axis in range(len(after)):
            if math.prod(after[axis:]) == inner and after[axis] == before[found.axis]:
                return replace(found, axis=axis)
        return None

    def _shape(self, index: int) -> list[int]:
        shape = self._graph.tensors[index].shape
        return [] if shape is None else [int(d) for d in shape]

    def _is_open(self, index: int, axis: int) -> bool:
        """Tell whether a tensor's length along an axis depends on the input."""
        signature = self._graph.tensors[index].shapeSignature
        return signature is not None and len(signature) > axis and int(signature[axis]) == -1

    def _constant(self, index: int) -> Any:
        """Return the values of a constant tensor, None of a computed one or one that is not of floats or integers."""
        tensor = self._graph.tensors[index]
        data = self._model.buffers[tensor.buffer].data
        if data is None or index in self._makers:
            return None
        dtypes = {schema.TensorType.FLOAT32: "<f4", schema.TensorType.INT32: "<i4", schema.TensorType.INT64: "<i8"}
        return np.frombuffer(bytes(data), dtypes[tensor.type]) if tensor.type in dtypes else np.zeros(0)
