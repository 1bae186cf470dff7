"""Keras 2 models, opened by tf-keras in a process that chose it before TensorFlow was imported.

tf-keras does not honour `safe_mode` for `.h5` files (CVE-2025-9906), so the caller must have looked for code in the
model's configuration first. Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras

from edgemm_converter.job import naming
from edgemm_converter.sources import weights
from edgemm_converter.sources.served_function import (
    Shapes,
    SourceFunction,
    check_shapes,
    served_dtype,
    spec_of,
    with_outputs,
)


def load(path: Path, *, objects: Mapping[str, Any]) -> Any:
    """Open a `.h5` or `.keras` file of Keras 2; raises whatever tf-keras raises."""
    with tf_keras.utils.custom_object_scope(dict(objects)):
        return tf_keras.models.load_model(path, compile=False)


def serve(model: Any, *, path: Path, shapes: Shapes) -> SourceFunction:
    """Wrap a tf-keras model; `shapes` are those that the user fixed, by input name.

    Raises:
        InputError: a weight is NaN, or a tensor is not of numbers.
    """
    weights.check(model.variables, path=path)
    structure = getattr(model, "_nested_inputs", None)
    structure = structure if structure is not None else model.inputs[0]
    flat = tf.nest.flatten(structure)
    names = naming.served(_names(structure, list(model.input_names)), prefix="input")
    check_shapes(names, shapes, path=path)
    inputs = tuple(
        spec_of(name, served_dtype(tensor.dtype.name), shapes.get(name, tuple(tensor.shape)), path=path)
        for name, tensor in zip(names, flat, strict=True)
    )

    def call(tensors: Sequence[Any]) -> dict[str, Any]:
        typed = [tf.cast(tensor, wanted.dtype) for tensor, wanted in zip(tensors, flat, strict=True)]
        found = model(tf.nest.pack_sequence_as(structure, typed), training=False)
        named = naming.served(_names(found, list(model.output_names)), prefix="output")
        return dict(zip(named, tf.nest.flatten(found), strict=True))

    return with_outputs(inputs, call, owner=model, path=path)


def _names(structure: Any, declared: Sequence[str]) -> list[str]:
    """Return names in the order of `tf.nest.flatten`: keys of a dictionary, and the model's own otherwise."""
    if isinstance(structure, Mapping):
        return sorted(str(key) for key in structure)
    count = len(tf.nest.flatten(structure))
    return list(declared) if len(declared) == count else [f"tensor_{i}" for i in range(count)]
