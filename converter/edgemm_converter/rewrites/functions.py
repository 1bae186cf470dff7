"""The functions inside of a graph, such as bodies of loops and branches, rewritten as the graph around them is.

Imports TensorFlow.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
from tensorflow.python.eager.polymorphic_function import atomic_function
from tensorflow.python.framework.func_graph import FuncGraph
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

from edgemm_converter.rewrites.frozen import FrozenGraph

_COUNT = itertools.count()
"""Names of functions are one for all graphs of a process."""

Run = Callable[[Sequence[Any]], list[Any]]
"""Writes a graph into the one at hand, for the tensors that it takes."""


def called(operation: Any) -> list[str]:
    """Return the names of the functions that an operation calls."""
    attributes = operation.node_def.attr.values()
    return [f.name for value in attributes for f in ([value.func] if value.HasField("func") else value.list.func)]


def opened(graph: Any, name: str, operation: Any) -> FrozenGraph:
    """Return a function of a graph that an operation calls, as a graph."""
    definition = graph._get_function(name).cached_definition  # noqa: SLF001 - functions have no public way out
    shapes = _shapes(operation, count=len(definition.signature.input_arg))
    with graph.as_default():
        body = function_def_to_graph(definition, input_shapes=shapes)
    for function in graph._functions.values():  # noqa: SLF001 - what is called in a body may be two levels down
        if not body._is_function(function.name):  # noqa: SLF001
            body._add_function_recursive(function)  # noqa: SLF001
    return FrozenGraph(body, body.inputs, body.outputs, {})


def _shapes(operation: Any, *, count: int) -> list[Any] | None:
    """Return the shapes of what a function takes, where these are known for every turn of a loop."""
    if operation.type in ("While", "StatelessWhile"):
        given = [tensor.shape for tensor in operation.outputs]
    elif operation.type in ("If", "StatelessIf", "Case", "StatelessCase"):
        given = [tensor.shape for tensor in operation.inputs[1:]]
    else:
        given = [tensor.shape for tensor in operation.inputs]
    return given if len(given) == count else None


def written(body: FrozenGraph, name: str, run: Run, changed: Callable[[], bool]) -> Any:
    """Return a function that does what a body does, as TensorFlow keeps functions; None if it stays as it is."""
    with (graph := FuncGraph(name)).as_default():
        graph.inputs = [tf.compat.v1.placeholder(tensor.dtype, tensor.shape) for tensor in body.inputs]
        graph.outputs = [tf.identity(tensor) for tensor in run(graph.inputs)]
    if not changed():
        return None
    graph.structured_outputs = graph.outputs
    return atomic_function.from_func_graph(f"{name}_{next(_COUNT)}", graph, attrs={})


def renamed(attributes: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the attributes of an operation with other names of the functions that it calls."""
    found = {}
    for key, value in attributes.items():
        copy = type(value)()
        copy.CopyFrom(value)
        for function in [copy.func] if copy.HasField("func") else copy.list.func:
            function.name = names.get(function.name, function.name)
        found[key] = copy
    return found


@contextmanager
def inlined() -> Iterator[None]:
    """Trace functions in functions into the outer one for a while; a function that is traced already stays as it is.

    A function that is left to XLA, as Keras' grouped convolutions are, is opaque to converters.
    """
    eager = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)  # noqa: FBT003 - TensorFlow's own signature
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(eager)
