"""Concrete functions that are made anew from an edited graph definition, the bodies of loops and branches included.

Imports TensorFlow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf
from tensorflow.python.eager.wrap_function import function_from_graph_def

Edit = Callable[[Any], None]
"""Changes a GraphDef in place; the names of its nodes stay."""


def edited(concrete: Any, edit: Edit) -> Any:
    """Return a concrete function with an edited graph, of the same inputs and outputs, which captures the same.

    Its functions get other names, made from what is in them: TensorFlow takes no second function of a name.
    """
    definition = concrete.graph.as_graph_def()
    edit(definition)
    content = definition.library.SerializeToString(deterministic=True)
    _rename(definition, f"_{hashlib.sha256(content).hexdigest()[:8]}")
    return of_definition(definition, like=concrete, captures=captured(concrete))


def of_definition(definition: Any, *, like: Any, captures: Mapping[str, Any]) -> Any:
    """Return a graph definition as a concrete function with the inputs and outputs of another one.

    `captures` are what it takes from outside, such as tables, by the names of their placeholders.
    """
    inputs = [tensor.name for tensor in like.inputs if tensor.op.name not in captured(like)]
    outputs = tf.nest.map_structure(lambda tensor: tensor.name, like.structured_outputs)
    made = function_from_graph_def(definition, inputs, outputs, dict(captures))
    for tensor, name in zip(made.inputs, inputs, strict=False):
        tensor.set_shape(like.graph.get_tensor_by_name(name).shape)  # a rank of 0 is lost on the way
    made.graph.variables = like.graph.variables
    return made


def captured(concrete: Any) -> dict[str, Any]:
    """Return what a concrete function takes from outside, by the names of the placeholders."""
    return {inside.op.name: outside for outside, inside in concrete.graph.captures}


def nodes(definition: Any) -> Iterator[Any]:
    """Yield the nodes of a graph definition, and of the functions in it."""
    yield from definition.node
    for function in definition.library.function:
        yield from function.node_def


def _rename(definition: Any, suffix: str) -> None:
    names = {function.signature.name: f"{function.signature.name}{suffix}" for function in definition.library.function}
    del definition.library.gradient[:]
    for function in definition.library.function:
        function.signature.name = names[function.signature.name]
    for node in nodes(definition):
        node.op = names.get(node.op, node.op)
        for attribute in node.attr.values():
            for called in (attribute.func, *attribute.list.func) if attribute.WhichOneof("value") else ():
                if called.name in names:
                    called.name = names[called.name]
