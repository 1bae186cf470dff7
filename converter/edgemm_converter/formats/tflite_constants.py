"""The reader of a TFLite file's constants: the real numbers that its operations take for them.

A kernel computes with bias × (scale of the input × scale of the weights), whatever scale the bias itself names. Needs
LiteRT, and no TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer.utils import tfl_flatbuffer_utils

from edgemm_converter.data.arrays import Array

_KINDS = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
_WITH_BIAS: Mapping[int, tuple[int, int, int]] = {
    schema.BuiltinOperator.CONV_2D: (0, 1, 2),
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: (0, 1, 2),
    schema.BuiltinOperator.FULLY_CONNECTED: (0, 1, 2),
    schema.BuiltinOperator.TRANSPOSE_CONV: (2, 1, 3),
}
"""Where operations take their input, their weights and their bias."""

_REAL = (schema.TensorType.FLOAT16, schema.TensorType.FLOAT32, schema.TensorType.FLOAT64)


@dataclass(frozen=True)
class Bias:
    """What the scale of a bias follows from: the scale of the operation's input, and those of its weights."""

    input_scale: float
    weights: str
    weights_step: Array
    """One for each channel or one for all, of a shape that broadcasts to the weights."""


@dataclass(frozen=True)
class Constant:
    """A constant as one operation takes it."""

    tensor: str
    operation: str
    """The kind of operation, and `scope` the one (layers.py)."""

    scope: str
    values: Array
    """In real numbers."""

    step: Array
    """How far neighbouring integers are apart, of a shape that broadcasts to the values; 0 for floats."""

    bias: Bias | None = None
    """Where it is an integer bias."""

    half: bool = False
    """Whether it is stored in half precision."""


def read(file: bytes) -> Iterator[Constant]:
    """Yield the constants of real numbers of a file, one for each operation that takes it; none of an empty file."""
    model = tfl_flatbuffer_utils.read_model(file) if file else None
    for graph in model.subgraphs if model else ():
        for operation in graph.operators:
            yield from _of_operation(model, graph, operation)


def original_name(tensor: str) -> str:
    """Return the name that a constant had before the quantizer gave each of its users one of its own."""
    return re.sub(r"(_duplicated)+(_\d+)?$", "", tensor)


def _of_operation(model: Any, graph: Any, operation: Any) -> Iterator[Constant]:
    code = model.operatorCodes[operation.opcodeIndex].builtinCode
    places = _WITH_BIAS.get(code)
    for position, index in enumerate(operation.inputs if operation.inputs is not None else ()):
        tensor = graph.tensors[index] if index >= 0 else None
        stored = None if tensor is None else _stored(tensor, model.buffers[tensor.buffer].data)
        if tensor is None or stored is None:
            continue
        scale, zero_point = _scales(tensor, stored.ndim)
        bias = None
        if places is not None and position == places[2] and tensor.type not in _REAL:
            given, weights = (graph.tensors[operation.inputs[i]] for i in places[:2])
            steps, _ = _scales(weights, len(weights.shape))
            bias = Bias(float(given.quantization.scale[0]), weights.name.decode(), steps)
            scale = bias.input_scale * steps.reshape(-1)
        yield Constant(
            tensor=tensor.name.decode(),
            operation=_KINDS[code],
            scope=tfl_flatbuffer_utils.get_op_scope(operation, graph.tensors),
            values=_real(stored, scale, zero_point) if tensor.type not in _REAL else stored.astype(np.float32),
            step=scale,
            bias=bias,
            half=tensor.type == schema.TensorType.FLOAT16,
        )


def _real(stored: Array, scale: Array, zero_point: Array) -> Array:
    """Return the numbers that integers stand for; 8 bits, of which there may be many, in half the memory."""
    dtype = np.float32 if stored.dtype.itemsize == 1 else np.float64
    found: Array = (stored.astype(dtype) - zero_point.astype(dtype)) * scale.astype(dtype)
    return found


def _stored(tensor: Any, data: Any) -> Array | None:
    """Return the numbers of a constant as they are stored; None where it is none, or not of real numbers."""
    if data is None or len(data) == 0 or (tensor.type not in _REAL and _unscaled(tensor)):
        return None
    shape = tuple(tensor.shape) if tensor.shape is not None else ()
    raw = np.frombuffer(data, np.uint8)
    if tensor.type == schema.TensorType.INT4:
        pairs = np.stack([raw & 15, raw >> 4], axis=-1).reshape(-1)[: int(np.prod(shape))].astype(np.int8)
        return np.where(pairs > 7, pairs - 16, pairs).reshape(shape)
    dtype = tfl_flatbuffer_utils.TENSOR_CODE_TO_TYPE[tensor.type].lower()
    found: Array = raw.view(dtype).reshape(shape)
    return found


def _unscaled(tensor: Any) -> bool:
    quantization = tensor.quantization
    return quantization is None or quantization.scale is None or len(quantization.scale) == 0


def _scales(tensor: Any, rank: int) -> tuple[Array, Array]:
    """Return the scale and the zero point of a tensor, shaped so that they broadcast to it."""
    if _unscaled(tensor):
        return np.zeros(()), np.zeros(())
    scale = np.asarray(tensor.quantization.scale, np.float64)
    zero_point = np.asarray(tensor.quantization.zeroPoint if tensor.quantization.zeroPoint is not None else 0)
    shape = [1] * rank
    if scale.size > 1:
        shape[tensor.quantization.quantizedDimension] = scale.size
    return scale.reshape(shape if rank else ()), zero_point.reshape(shape if rank and zero_point.size > 1 else ())
