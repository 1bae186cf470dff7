"""The layers of a TFLite file, and the error of each against the float file that a variant was made from.

A layer is one operation. Its scope, by which the quantizer finds it, is the names of its output tensors. Needs LiteRT,
and no TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from ai_edge_quantizer.utils import tfl_flatbuffer_utils

from edgemm_converter.data.arrays import Array, spread
from edgemm_converter.job import naming

MAX_SAMPLES = 16
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Layer:
    """One operation, in the order in which a file runs them; `inputs` are the names of computed tensors."""

    scope: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: int


@dataclass(frozen=True)
class LayerError:
    """How far a layer's output is from the float file's, and how much of that is the layer's own doing.

    Both are root mean squares relative to the output's spread; `own` is what its inputs did not bring along.
    """

    layer: Layer
    error: float
    own: float


def layers(file: bytes) -> tuple[Layer, ...]:
    """Return the layers of a file's main graph."""
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    graph = model.subgraphs[0]
    constant = {i for i, t in enumerate(graph.tensors) if model.buffers[t.buffer].data is not None}

    def names(indices: Sequence[int]) -> tuple[str, ...]:
        return tuple(graph.tensors[i].name.decode() for i in indices if i >= 0 and i not in constant)

    return tuple(
        Layer(
            scope=(scope := tfl_flatbuffer_utils.get_op_scope(op, graph.tensors)),
            name=naming.readable(scope),
            inputs=names(op.inputs),
            outputs=names(op.outputs),
            weights=sum(len(model.buffers[graph.tensors[i].buffer].data) for i in op.inputs if i in constant),
        )
        for op in graph.operators
    )


def errors(floats: bytes, variant: bytes, inputs: Mapping[str, Array]) -> tuple[LayerError, ...]:
    """Return the error of each layer whose output both files have; `inputs` [runs, …] by name in the signature."""
    expected, found = values(floats, inputs), values(variant, inputs)
    apart = {
        name: _relative(values, found[name])
        for name, values in expected.items()
        if name in found and found[name].shape == values.shape
    }
    result = []
    for layer in layers(floats):
        known = [apart[name] for name in layer.outputs if name in apart]
        if known:
            brought = max((apart.get(name, 0.0) for name in layer.inputs), default=0.0)
            worst = max(known)
            result.append(LayerError(layer, worst, max(worst - brought, 0.0) if math.isfinite(brought) else 0.0))
    return tuple(result)


def by_harm(found: Sequence[LayerError]) -> tuple[LayerError, ...]:
    """Return the layers that add error, the most harmful first."""
    return tuple(sorted((e for e in found if e.own > 0), key=lambda e: (-e.own, e.layer.scope)))


def values(file: bytes, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return every float value that a file computes, [runs, …] by tensor name, integers turned back into reals."""
    interpreter = Interpreter(
        model_content=file, num_threads=1, experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )  # fmt: skip
    interpreter.allocate_tensors()
    sides = dict(Interpreter(model_content=file).get_signature_runner().get_input_details())
    computed = {name for layer in layers(file) for name in layer.outputs}
    details = [d for d in interpreter.get_tensor_details() if d["name"] in computed]
    some = spread(len(next(iter(inputs.values()))), limit=MAX_SAMPLES)
    runs: dict[str, list[Array]] = {}
    for i in some:
        for name, detail in sides.items():
            interpreter.set_tensor(detail["index"], _stored(inputs[name][i, ...], detail))
        interpreter.invoke()
        for detail in details:
            if (value := _real(interpreter, detail)) is not None:
                runs.setdefault(detail["name"], []).append(value)
    return {name: np.stack(values) for name, values in runs.items() if len({v.shape for v in values}) == 1}


def _stored(values: Array, detail: Mapping[str, Any]) -> Array:
    scale, zero_point = detail["quantization"]
    dtype = np.dtype(detail["dtype"])
    if scale == 0 or values.dtype.kind != "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    stored = np.clip(np.round(values / scale + zero_point), limits.min, limits.max).astype(dtype)
    return np.asarray(stored)  # of rank 0 too, where arithmetic makes a scalar


def _real(interpreter: Any, detail: Mapping[str, Any]) -> Array | None:
    scale, zero_point = detail["quantization"]
    try:
        values: Array = interpreter.get_tensor(detail["index"])
    except ValueError:  # not computed in this run
        return None
    if scale:
        real: Array = (values.astype(np.float64) - zero_point) * scale
        return real
    return values.astype(np.float64) if values.dtype.kind == "f" else None


def _relative(expected: Array, found: Array) -> float:
    if not np.isfinite(expected).all():
        return 0.0 if np.array_equal(expected, found, equal_nan=True) else math.inf
    with np.errstate(over="ignore", invalid="ignore"):
        error = float(np.sqrt(((expected - found) ** 2).mean()))
    smallest = _SMALLEST * max(1.0, float(np.abs(expected).max(initial=0.0)))
    return math.inf if math.isnan(error) else error / max(float(expected.std()), smallest)
