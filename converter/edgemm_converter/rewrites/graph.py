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
from edgemm_converter.rewrites import (
    bits,
    complex_numbers,
    counting,
    diagonals,
    elementary,
    float8,
    fourier,
    functions,
    images,
    integers,
    projections,
    seeded,
    special_functions,
    tables,
    volumes,
)  # fmt: skip
from edgemm_converter.rewrites.frozen import BRANCHES, READ, FrozenGraph, needed
from edgemm_converter.rewrites.values import Copy, Outside, Pair, Rule, Rules, Value, together

_OF_ALL = (float8, tables, seeded)
_MODULES = (bits, integers, elementary, special_functions, counting, diagonals, volumes, images, projections)
_PLAIN: Mapping[str, Rules] = {
    Engine.TFLITE: together([*(m.RULES for m in _OF_ALL), *(m.TFLITE for m in _MODULES)]),
    Engine.ONNX: together([*(m.RULES for m in _OF_ALL), *(m.ONNX for m in _MODULES)]),
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
    return _Writer(frozen, engine, layer).run


class _Writer:
    """Writes one graph; the functions in it are written by writers of their own."""

    def __init__(self, frozen: FrozenGraph, engine: str, layer: Callable[[str], str]) -> None:
        self._frozen, self._engine, self._layer = frozen, engine, layer
        self._operations = needed(frozen.outputs) if frozen.outputs else []
        self._rules = _rules(self._operations, engine=engine)
        self._names: dict[str, str] = {}
        self.changed = False
        """Whether any rule applied."""

    @property
    def complex(self) -> bool:
        """Whether there are complex numbers in it."""
        return any(t.dtype.is_complex for o in self._operations for t in (*o.inputs, *o.outputs))

    def run(self, tensors: Sequence[Any], weights: Mapping[str, Any] = _NONE) -> list[Any]:
        """Write the graph into the one at hand; see `rewritten`."""
        frozen, target = self._frozen, tf.compat.v1.get_default_graph()
        self._write_functions(target)
        values: dict[Any, Value] = {t.ref(): v for t, v in zip(frozen.inputs, tensors, strict=True)}
        for operation in self._operations:
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
                found = self._written(operation, [values[t.ref()] for t in operation.inputs])
            values |= {t.ref(): v for t, v in zip(operation.outputs, found, strict=True)}
        return [values[t.ref()] for t in frozen.outputs]

    def _written(self, operation: Any, inputs: Sequence[Value]) -> Sequence[Value]:
        rule = self._branches if operation.type in BRANCHES else self._rules.get(operation.type)
        if rule is not None:
            with tf.name_scope(f"{operation.name}/"):
                found = rule(operation, inputs, self._copy(operation, name=operation.type))
            if found is not None:
                self.changed = True
                return found
        if any(isinstance(value, Outside) for value in inputs):
            raise ConversionError(
                f"layer {self._layer(operation.name)!r}: {operation.type} uses a table or another resource, which no "
                "file holds; a table of integers can be looked up in outside of loops and branches: do this part "
                "outside the model"
            )
        if any(isinstance(value, Pair) for value in inputs):
            raise ConversionError(
                f"layer {self._layer(operation.name)!r}: {operation.type} of complex numbers has no equal in real ones "
                "here: compute with their real and imaginary parts in it"
            )
        return self._copy(operation, name=operation.name)(inputs)

    def _copy(self, operation: Any, *, name: str) -> Copy:
        """Repeat an operation in the graph at hand; on real inputs, one of complex numbers becomes one of real ones."""

        def copy(inputs: Sequence[Any]) -> Sequence[Any]:
            both = zip(operation.inputs, inputs, strict=True)
            attributes = {key: value for key, value in operation.node_def.attr.items() if not key.startswith("_")}
            attributes = functions.renamed(attributes, self._names)
            dtypes = [t.dtype for t in operation.outputs]
            if any(t.dtype.is_complex and v.dtype.is_floating for t, v in both):
                attributes = {key: _of_real(value) for key, value in attributes.items()}
                dtypes = [dtype.real_dtype for dtype in dtypes]
            graph = tf.compat.v1.get_default_graph()
            made = graph.create_op(
                operation.type, list(inputs), dtypes, name=name, attrs=attributes, compute_device=False
            )
            return list(made.outputs)

        return copy

    def _write_functions(self, target: Any) -> None:
        """Give the graph at hand the functions of this one, and those to which a rule applies under another name."""
        for function in self._frozen.graph._functions.values():  # noqa: SLF001 - bodies of loops have no public way over
            if not target._is_function(function.name):  # noqa: SLF001
                target._add_function_recursive(function)  # noqa: SLF001
        for operation in self._operations:
            for name in functions.called(operation) if operation.type not in BRANCHES else ():
                if name not in self._names and (made := self._function(operation, name)) is not None:
                    target._add_function_recursive(made)  # noqa: SLF001
                    self._names[name] = made.name
                    self.changed = True

    def _function(self, operation: Any, name: str) -> Any:
        body = functions.opened(self._frozen.graph, name, operation)
        writer = _Writer(body, self._engine, self._layer)
        return None if writer.complex else functions.written(body, name, writer.run, lambda: writer.changed)

    def _branches(self, operation: Any, inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
        """Compute all branches of a switch, and choose: converters know switches of two branches alone."""
        index, *given = inputs
        bodies = [functions.opened(self._frozen.graph, name, operation) for name in functions.called(operation)]
        *others, found = [_Writer(body, self._engine, self._layer).run(given) for body in bodies]
        for number, other in reversed(list(enumerate(others))):
            if any(a.shape != b.shape for a, b in zip(found, other, strict=True)):
                return None
            chosen = tf.equal(index, number)
            found = [tf.where(chosen, a, b) for a, b in zip(other, found, strict=True)]
        return list(found)


def _rules(operations: Iterable[Any], *, engine: str) -> Rules:
    of_complex = {o.type for o in operations if any(t.dtype.is_complex for t in (*o.inputs, *o.outputs))}
    plain = _PLAIN.get(engine, {})
    if of_complex <= _BUILTIN.get(engine, frozenset()):
        return plain
    return together([_COMPLEX, {kind: _of_reals(rule) for kind, rule in plain.items()}])


def _of_reals(rule: Rule) -> Rule:
    """Leave complex numbers to other rules."""

    def write(operation: Any, inputs: Sequence[Value], copy: Copy) -> Sequence[Value] | None:
        return None if any(isinstance(value, Pair) for value in inputs) else rule(operation, inputs, copy)

    return write


def _of_real(attribute: Any) -> Any:
    if attribute.type != tf.complex64.as_datatype_enum:
        return attribute
    return tf.compat.v1.AttrValue(type=tf.float32.as_datatype_enum)
