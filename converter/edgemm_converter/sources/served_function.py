"""A loaded model of any source format as one TensorFlow function with named inputs and outputs.

In TensorFlow's graphs, tensors are named by the `identifiers` (naming.py) of the signature's names. So each tensor of a
converted file can be traced back by name; positions change on the way. Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from edgemm import library_errors
from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import NUMBERS, DType, Signature, TensorSpec
from edgemm.errors import ConversionError, InputError
from edgemm_converter import rewrites
from edgemm_converter.data.arrays import Array
from edgemm_converter.job import naming
from edgemm_converter.judging import reachability
from edgemm_converter.rewrites import simulated_quantization
from edgemm_converter.sources import graph_flow, state, tracing

_NOT_SINGLE = ("float16", "bfloat16", "float64")
Call = Callable[[Sequence[Any]], Mapping[str, Any]]
Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of inputs that the user fixed; −1 is variable."""


@dataclass(frozen=True)
class FrozenSource:
    """A source without variables."""

    serve: Any
    """A `tf.function` of the signature's inputs and of `weights`, by identifiers."""

    weights: Mapping[str, Array]
    """Large weights that are inputs of `serve`, for ONNX alone: they enter the file when it is made."""


@dataclass(frozen=True)
class SourceFunction:
    """What a source serves; `call` takes tensors in the order of the signature's inputs, returns outputs by name."""

    signature: Signature
    call: Call
    owner: Any
    """Keeps the variables alive."""

    floats: frozenset[Any] = frozenset()
    """The types of half and double precision that its tensors are of."""

    simulated: int = 0
    """How many operations of it simulate quantization."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of how variants compute it."""
        if not self.simulated:
            return ()
        kept = (
            f"the source was trained for integers, with {self.simulated} FakeQuant operations: weights keep their "
            "rounding; of activations, float variants and what they are compared with keep the limits alone; integer "
            "variants take the limits as ranges, and calibration data where there are none"
        )
        return (kept,)

    @property
    def input_ids(self) -> dict[str, str]:
        """Name of each input → its identifier in graphs."""
        return _input_ids(self.signature.inputs)

    @property
    def output_ids(self) -> dict[str, str]:
        """Name of each output → its identifier in graphs; none is also an input's."""
        taken, names = list(self.input_ids.values()), [spec.name for spec in self.signature.outputs]
        ids = naming.identifiers([*taken, *names], prefix="output")
        return dict(zip(names, ids[len(taken) :], strict=True))

    def layer(self, tensor: str) -> str:
        """Return the names of the layers that the name of a tensor or operation in a graph stands for."""
        walk = getattr(self.owner, "_flatten_layers", None)
        if walk is None:
            return naming.layer(tensor, known={})
        scopes = naming.scopes(layer.name for layer in walk())
        return naming.layer(tensor, known={scopes[layer.name]: layer.name for layer in walk(include_self=False)})

    def whence(self, kinds: Iterable[str], function: Any) -> str:
        """Name kinds of operations, each with the layer where a concrete function has the first of it."""
        first = {o.type: o.name for o in reversed(function.graph.get_operations())}
        return ", ".join(f"{k} (layer {self.layer(first[k])!r})" if k in first else k for k in kinds)

    def concrete(self, *, batch: int | None) -> Any:
        """Return the source as a concrete function; `batch` takes the place of a variable batch, None leaves it free.

        Half precision is computed in single precision, and of simulated quantization the limits are kept: this is what
        variants are compared with. Rounding to half, or to 8 bits, would hide what is wrong with them.
        """
        ids = self.output_ids

        def serve(*tensors: Any) -> dict[str, Any]:
            return {ids[name]: value for name, value in self.call(tensors).items()}

        specs = _tensor_specs(self.signature.inputs, batch=batch)
        concrete = tf.function(serve, input_signature=specs, autograph=False).get_concrete_function()
        if halves := self.floats & rewrites.HALVES:
            concrete = rewrites.in_single(concrete, halves)
        return simulated_quantization.as_limits(concrete) if self.simulated else concrete

    def constant(self, *, batch: int | None) -> Any:
        """Return the source as it is, as a concrete function whose variables are constants."""
        return rewrites.constants(self.concrete(batch=batch))

    def frozen(self, *, engine: str, batch: int | None) -> FrozenSource:
        """Return the source for one engine, in single precision and with its variables turned into constants.

        Unfrozen, Keras 3 variables stay resources in a TFLite file, which the quantizer cannot read.

        Raises:
            ConversionError: TensorFlow cannot freeze it.
        """
        try:
            with rewrites.inlined():
                concrete = self.concrete(batch=batch)
            if self.floats & rewrites.DOUBLES:
                concrete = rewrites.in_single(concrete, rewrites.DOUBLES)
            graph = rewrites.freeze(concrete)
        except (ValueError, tf.errors.OpError) as err:
            raise ConversionError(
                "TensorFlow cannot turn the model's variables into constants: "
                f"{library_errors.quoted(err)}; keep what it changes outside of it"
            ) from err
        positions = {tensor.name: i for i, tensor in enumerate(graph.outputs)}
        where = {name: positions[tensor.name] for name, tensor in concrete.structured_outputs.items()}
        run = rewrites.rewritten(graph, engine=engine, layer=self.layer)

        weights = rewrites.large(graph) if engine == Engine.ONNX else {}
        specs = _tensor_specs(self.signature.inputs, batch=batch)
        taken = [*self.input_ids.values(), *self.output_ids.values()]
        ids = naming.identifiers([*taken, *(f"weights_{i}" for i in range(len(weights)))], prefix="weights")
        outside = dict(zip(ids[len(taken) :], weights.values(), strict=True))

        def serve(*tensors: Any) -> dict[str, Any]:
            values = run(tensors[: len(specs)], dict(zip(weights, tensors[len(specs) :], strict=True)))
            return {name: values[position] for name, position in where.items()}

        specs_outside = [tf.TensorSpec(array.shape, array.dtype, name=name) for name, array in outside.items()]
        return FrozenSource(tf.function(serve, input_signature=[*specs, *specs_outside], autograph=False), outside)

    def run(self, function: Any, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run a function of this model in graph mode, by the signature's names."""
        values = function(*(tf.constant(inputs[spec.name]) for spec in self.signature.inputs))
        return {name: np.asarray(values[identifier]) for name, identifier in self.output_ids.items()}


def check_shapes(names: Sequence[str], shapes: Shapes, *, path: Path) -> None:
    """Check that the user fixed the shapes of inputs that there are.

    Raises:
        InputError: a name is none of them.
    """
    for name in shapes:
        if name not in names:
            raise InputError(f"{path}: --input-shape {name}: expected one of the inputs {', '.join(names)}")


def served_dtype(dtype: str) -> str:
    """Return the dtype in which a tensor is served: half and double precision as float32, which every engine takes."""
    return "float32" if dtype in _NOT_SINGLE else dtype


def _as_served(tensor: Any) -> Any:
    """Return an output of a source in the dtype in which it is served."""
    return tf.cast(tensor, served_dtype(tensor.dtype.name)) if tensor.dtype.name in _NOT_SINGLE else tensor


def with_outputs(inputs: tuple[TensorSpec, ...], call: Call, *, owner: Any, path: Path) -> SourceFunction:
    """Trace the model once to learn what comes out of it, and return it with its signature.

    Raises:
        InputError: it has no inputs or outputs, a tensor is not of numbers, or it writes to a variable or draws random
            numbers.
    """
    traced: dict[str, Any] = {}

    def served(tensors: Sequence[Any]) -> dict[str, Any]:
        return {name: _as_served(value) for name, value in call(tensors).items()}

    def trace(*tensors: Any) -> dict[str, Any]:
        traced.update(served(tensors))
        return {}

    function = tf.function(trace, input_signature=_tensor_specs(inputs, batch=None), autograph=False)
    try:
        concrete = function.get_concrete_function()
    except tracing.FAILURES as err:
        raise tracing.refusal(err, inputs, path=path) from err
    state.check_graph(concrete, traced.values(), path=path)
    outputs = tuple(spec_of(name, value.dtype.name, dims(value.shape), path=path) for name, value in traced.items())
    if not inputs or not outputs:
        raise InputError(f"{path}: expected a model with inputs and outputs, found {len(inputs)} and {len(outputs)}")
    source = SourceFunction(
        Signature(inputs=inputs, outputs=outputs), served, owner, rewrites.used(concrete),
        simulated_quantization.count(concrete),
    )  # fmt: skip
    drawn = graph_flow.of_graph(concrete.graph).random(graph_flow.value(tensor) for tensor in traced.values())
    reachability.check(drawn, path=path, place=lambda name: f"layer {source.layer(name)!r}")
    return source


def dims(shape: Any) -> tuple[int | None, ...] | None:
    """Return the size of each dimension of a TensorFlow shape, None where it is variable; None for no rank."""
    return None if shape.rank is None else tuple(shape)


def _input_ids(inputs: Sequence[TensorSpec]) -> dict[str, str]:
    names = [spec.name for spec in inputs]
    return dict(zip(names, naming.identifiers(names, prefix="input"), strict=True))


def _tensor_specs(inputs: Sequence[TensorSpec], *, batch: int | None) -> list[Any]:
    specs, ids = [], _input_ids(inputs)
    for spec in inputs:
        shape: list[int | None] = [None if d == -1 else d for d in spec.shape]
        if spec.shape[:1] == (-1,):
            shape[0] = batch
        specs.append(tf.TensorSpec(shape, spec.dtype.value, name=ids[spec.name]))
    return specs


def spec_of(name: str, dtype: str, shape: Sequence[int | None] | None, *, path: Path) -> TensorSpec:
    """Return the spec of a tensor as TensorFlow describes it; None in `shape` is variable, no shape is unknown.

    Raises:
        InputError: its rank is unknown, or it is not of numbers.
    """
    if shape is None:
        raise InputError(
            f"{path}: tensor {name!r} may have any number of dimensions: fix the inputs' with "
            "--input-shape NAME=1,224,224,3 (-1 for a dimension that stays variable)"
        )
    if dtype not in NUMBERS:
        raise InputError(
            f"{path}: tensor {name!r} is of dtype {dtype}; edgemm serves numbers ({', '.join(NUMBERS)}): "
            "do this part of the work outside the model"
        )
    return TensorSpec(name=name, dtype=DType(dtype), shape=tuple(-1 if d is None else int(d) for d in shape))
