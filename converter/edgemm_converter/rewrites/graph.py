"""The rewriter of a frozen graph: each operation is copied as it is, or replaced by a rule.

Operations that no output needs, and gradients, do nothing for an engine and are dropped. Gradients also keep TensorFlow
from saving some graphs, and TFLiteConverter, without a word, from naming inputs and outputs. Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from edgemm.bundle.engine_facts import Engine
from edgemm.errors import ConversionError
from edgemm_converter.rewrites import bits, complex_numbers, float8, fourier, integers, seeded, tables
from edgemm_converter.rewrites.frozen import READ, FrozenGraph, needed
from edgemm_converter.rewrites.values import Copy, Outside, Pair, Rules, Value

_PLAIN: Mapping[str, Rules] = {
    Engine.TFLITE: {**float8.RULES, **tables.RULES, **bits.TFLITE, **integers.RULES, **seeded.RULES},
    Engine.ONNX: {**float8.RULES, **tables.RULES, **bits.ONNX, **seeded.RULES},
}
_COMPLEX: Rules = {**complex_numbers.RULES, **fourier.RULES}
_BUILTIN: Mapping[str, frozenset[str]] = {
    Engine.TFLITE: frozenset({"RFFT", "RFFT2D", "Real", "Imag", "ComplexAbs"}),
    Engine.ONNX: frozenset(),
}
"""Operations on complex numbers that an engine has; a graph with these alone keeps them."""

_NONE: Mapping[str, Any] = {}


def rewritten(frozen: FrozenGraph, *, engine: str, layer: Callable[[str], str]) -> Callable[..., list[Any]]:
    """Return a function that writes a frozen graph for one engine: it takes and returns tensors in the same order.

    It also takes `weights`, tensors that stand in the place of constants, by the names of these.

    The function returned raises ConversionError where complex numbers or a table meet an operation that has no rule;
    `layer` tells what the user calls where an operation, by name, comes from.
    """
    operations = needed(frozen.outputs)
    rules = _rules(operations, engine=engine)

    def run(tensors: Sequence[Any], weights: Mapping[str, Any] = _NONE) -> list[Any]:
        target = tf.compat.v1.get_default_graph()
        for function in frozen.graph._functions.values():  # noqa: SLF001 - bodies of loops have no public way over
            if not target._is_function(function.name):  # noqa: SLF001
                target._add_function_recursive(function)  # noqa: SLF001
        values: dict[Any, Value] = {t.ref(): v for t, v in zip(frozen.inputs, tensors, strict=True)}
        for operation in operations:
            found: Sequence[Value]
            if operation.name in weights:
                found = [weights[operation.name]]
            elif operation.name in frozen.values:
                found = [tf.constant(frozen.values[operation.name], name=operation.name)]
            elif operation.name in frozen.tables:
                found = [Outside(frozen.tables[operation.name])]
            elif operation.type == "Placeholder":
                continue
            elif operation.type == READ:
                found = [values[operation.inputs[0].ref()]]
            else:
                found = _written(operation, [values[t.ref()] for t in operation.inputs], rules, layer)
            values |= {t.ref(): v for t, v in zip(operation.outputs, found, strict=True)}
        return [values[t.ref()] for t in frozen.outputs]

    return run


def _rules(operations: Iterable[Any], *, engine: str) -> Rules:
    of_complex = {o.type for o in operations if any(t.dtype.is_complex for t in (*o.inputs, *o.outputs))}
    plain = _PLAIN.get(engine, {})
    return plain if of_complex <= _BUILTIN.get(engine, frozenset()) else {**plain, **_COMPLEX}


def _written(operation: Any, inputs: Sequence[Value], rules: Rules, layer: Callable[[str], str]) -> Sequence[Value]:
    rule = rules.get(operation.type)
    if rule is not None:
        with tf.name_scope(f"{operation.name}/"):
            found = rule(operation, inputs, _copy(operation, name=operation.type))
        if found is not None:
            return found
    if any(isinstance(value, Outside) for value in inputs):
        raise ConversionError(
            f"layer {layer(operation.name)!r}: {operation.type} uses a table or another resource, which no file holds; "
            "a table of integers can be looked up in outside of loops and branches: do this part outside the model"
        )
    if any(isinstance(value, Pair) for value in inputs):
        raise ConversionError(
            f"layer {layer(operation.name)!r}: {operation.type} of complex numbers has no equal in real ones here: "
            "compute with their real and imaginary parts in it"
        )
    return _copy(operation, name=operation.name)(inputs)


def _copy(operation: Any, *, name: str) -> Copy:
    """Repeat an operation in the graph at hand; on real inputs, one of complex numbers becomes one of real numbers."""

    def copy(inputs: Sequence[Any]) -> Sequence[Any]:
        real = any(t.dtype.is_complex and v.dtype.is_floating for t, v in zip(operation.inputs, inputs, strict=True))
        attributes = {key: value for key, value in operation.node_def.attr.items() if not key.startswith("_")}
        dtypes = [t.dtype for t in operation.outputs]
        if real:
            attributes = {key: _of_real(value) for key, value in attributes.items()}
            dtypes = [dtype.real_dtype for dtype in dtypes]
        graph = tf.compat.v1.get_default_graph()
        made = graph.create_op(operation.type, list(inputs), dtypes, name=name, attrs=attributes, compute_device=False)
        return list(made.outputs)

    return copy


def _of_real(attribute: Any) -> Any:
    if attribute.type != tf.complex64.as_datatype_enum:
        return attribute
    return tf.compat.v1.AttrValue(type=tf.float32.as_datatype_enum)
