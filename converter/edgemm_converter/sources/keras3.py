"""Keras 3 models as served functions: inputs and outputs by name, and the state that layers keep between calls.

Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from keras.src.export.export_utils import (  # Keras has no public names for them
    _infer_input_signature_from_model,
    get_input_signature,
)

from edgemm import library_errors
from edgemm.errors import InputError
from edgemm_converter.job import naming
from edgemm_converter.sources import state, weights
from edgemm_converter.sources.served_function import (
    Shapes,
    SourceFunction,
    check_shapes,
    served_dtype,
    spec_of,
    with_outputs,
)


def serve(model: Any, *, path: Path, shapes: Shapes) -> SourceFunction:
    """Wrap a Keras model; `shapes` are those that the user fixed, by input name.

    Raises:
        InputError: it has no fixed kinds of inputs, a weight is NaN, or it writes to a variable when it runs.
    """
    weights.check(model.variables, path=path)
    layers = list(model._flatten_layers())  # noqa: SLF001 - as Keras' own exporters walk nested models
    scopes = naming.scopes(layer.name for layer in layers)
    for layer in layers:
        if scopes[layer.name] != layer.name:
            layer._open_name_scope = partial(keras.name_scope, scopes[layer.name], caller=layer)  # noqa: SLF001 - Keras opens none of these names
        if hasattr(layer, "use_cudnn"):
            layer.use_cudnn = False  # the fused GPU operation converts to nothing
    structure = _structure(model, path=path, shapes=shapes)
    arguments = structure if isinstance(structure, (list, tuple)) else [structure]
    flat = keras.tree.flatten_with_path(arguments)
    names = naming.served((_input_name(where, spec, count=len(flat)) for where, spec in flat), prefix="input")
    # Keras' helper makes every first axis a variable batch; a model with state has a fixed one, a scalar none at all.
    declared_shapes = [tuple(t.shape) for t in getattr(model, "inputs", None) or ()]
    if len(declared_shapes) != len(flat):
        declared_shapes = [(None, *spec.shape[1:]) for _, spec in flat]
    inputs = tuple(
        spec_of(name, served_dtype(spec.dtype), shapes.get(name, shape), path=path)
        for name, shape, (_, spec) in zip(names, declared_shapes, flat, strict=True)
    )
    declared = list(getattr(model, "output_names", ())) or _sequential_output(model)
    states = state.of_layers(model)
    memory = tuple(spec_of(name, "float32", tuple(variable.shape), path=path) for name, variable in states.items())

    def call(tensors: Sequence[Any]) -> dict[str, Any]:
        typed = [tf.cast(tensor, spec.dtype) for tensor, (_, spec) in zip(tensors, flat, strict=False)]
        packed = keras.tree.pack_sequence_as(arguments, typed)
        kept = zip(states.values(), tensors[len(flat) :], strict=True)
        given = [(variable, tf.cast(tensor, variable.dtype)) for variable, tensor in kept]
        with state.WatchedScope(given) as scope:
            found = keras.tree.flatten_with_path(model(*packed, training=False))
        found_names = [_output_name(where, i, declared, count=len(found)) for i, (where, _) in enumerate(found)]
        outputs = dict(zip(naming.served(found_names, prefix="output"), (value for _, value in found), strict=True))
        outputs |= {f"next_{name}": scope.get_current_value(variable) for name, variable in states.items()}
        state.check_written(scope, model, outputs.values(), path=path)
        return outputs

    check_shapes([spec.name for spec in inputs], shapes, path=path)
    return with_outputs(inputs + memory, call, owner=model, path=path)


def _structure(model: Any, *, path: Path, shapes: Shapes) -> Any:
    """Return the specs of a model's inputs, nested as its call takes them."""
    try:
        return get_input_signature(model)
    except (ValueError, TypeError, AttributeError) as err:
        # A subclassed model that was loaded and not yet called still knows the shapes that it was built for.
        if structure := _infer_input_signature_from_model(model):
            return structure
        if shapes:
            specs = {name: keras.InputSpec(shape=shape, dtype="float32", name=name) for name, shape in shapes.items()}
            return list(specs.values()) if len(specs) == 1 else [specs]
        why = library_errors.quoted(err)
        raise InputError(
            f"{path}: the model does not say what inputs it takes ({why}): give --input-shape NAME=1,224,224,3 for "
            "each, or call it once before saving"
        ) from err


def _input_name(where: tuple[Any, ...], spec: Any, *, count: int) -> str:
    if where and isinstance(where[-1], str):
        return where[-1]
    return str(spec.name) if spec.name else "input" if count == 1 else f"input_{where[-1] if where else 0}"


def _output_name(where: tuple[Any, ...], index: int, declared: Sequence[str], *, count: int) -> str:
    if where and isinstance(where[-1], str):
        return where[-1]
    return declared[index] if len(declared) == count else "output" if count == 1 else f"output_{index}"


def _sequential_output(model: Any) -> list[str]:
    return [model.layers[-1].name] if isinstance(model, keras.Sequential) else []
