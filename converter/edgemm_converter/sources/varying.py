"""Outputs whose length depends on the data, as after non-maximum suppression or `boolean_mask`. Imports TensorFlow.

The samples that are tried may all give one length by chance, so the graph is asked: with every input's shape fixed, a
length that TensorFlow cannot tell, and that comes from an operation whose output is as long as its values say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from edgemm_converter import rewrites
from edgemm_converter.sources.served_function import SourceFunction

_TELLING = (
    "Where", "NonMaxSuppression", "CombinedNonMaxSuppression", "Unique", "ListDiff", "DynamicPartition", "Ragged",
    "RaggedRange", "Sparse", "DenseToDenseSet", "DenseToSparseSet", "DenseBincount",
)  # fmt: skip
"""How the names of operations begin whose output is as long as the values of their inputs say."""
_RANGE = "Range"
"""As long as its values say too: in most graphs these follow from shapes, or else from an input of rank 0."""

_ROWS, _LENGTH, _SIDE = 2, 16, 32


def outputs(model: SourceFunction, concrete: Any) -> dict[str, str]:
    """Return the outputs whose length depends on the data, each with the operation that it comes from.

    `concrete` is the model traced as its signature says; the graph is looked at again only where that has such
    operations.
    """
    if not any(-1 in spec.shape for spec in model.signature.outputs):
        return {}
    kinds = _TELLING if all(spec.shape for spec in model.signature.inputs) else (*_TELLING, _RANGE)
    if not any(kind.startswith(kinds) for kind in _types(concrete.graph)):
        return {}
    fixed = convert_variables_to_constants_v2(_fixed(model).get_concrete_function(), lower_control_flow=False)
    found: dict[str, str] = {}
    for spec, tensor in zip(model.signature.outputs, fixed.outputs, strict=True):
        if tensor.shape.rank is None or None in tuple(tensor.shape):
            operation = next((o for o in rewrites.needed([tensor]) if o.type.startswith(kinds)), None)
            found |= {spec.name: str(operation.type)} if operation is not None else {}
    return found


def _fixed(model: SourceFunction) -> Any:
    """Return the source as a function of inputs without open axes."""

    def shape(dims: Sequence[int]) -> list[int]:
        usual = _SIDE if len(dims) >= 4 else _LENGTH
        return [d if d != -1 else _ROWS if axis == 0 else usual for axis, d in enumerate(dims)]

    specs = [tf.TensorSpec(shape(s.shape), s.dtype.value, name=model.input_ids[s.name]) for s in model.signature.inputs]

    def serve(*tensors: Any) -> list[Any]:
        found = model.call(tensors)
        return [tf.identity(found[spec.name]) for spec in model.signature.outputs]

    return tf.function(serve, input_signature=specs, autograph=False)


def _types(graph: Any) -> Iterator[str]:
    definition = graph.as_graph_def()
    yield from (node.op for node in definition.node)
    yield from (node.op for function in definition.library.function for node in function.node_def)
