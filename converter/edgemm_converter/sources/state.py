"""The state of a model between calls: permitted states become inputs and outputs, other writes are refused.

A model in a bundle is a function. A layer that counts calls, averages its inputs or draws random numbers would do so
once, on the workstation, and then be frozen. Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from edgemm.errors import InputError
from edgemm_converter import rewrites
from edgemm_converter.sources import graph_flow

_SEED = "seed_generator_state"
_PRUNING = "pruning_step"
_MAX_NAME = 200
"""Of a layer, in the name of a state."""


class WatchedScope(keras.StatelessScope):  # type: ignore[misc]  # Keras ships no types
    """A scope in which writes reach no variable; it knows which ones were written."""

    def __init__(self, state_mapping: Sequence[tuple[Any, Any]]) -> None:
        super().__init__(state_mapping=state_mapping)
        self.written: list[Any] = []

    def add_update(self, update: tuple[Any, Any]) -> None:
        """Remember a write; Keras calls this for each."""
        self.written.append(update[0])
        super().add_update(update)


def of_layers(model: Any) -> dict[str, Any]:
    """Return the states that stateful layers keep between calls: they become inputs and outputs of the served model."""
    found = {}
    for layer in model._flatten_layers():  # noqa: SLF001 - as Keras' own exporters walk nested models
        if getattr(layer, "stateful", False) and getattr(layer, "states", None) is not None:
            for i, variable in enumerate(keras.tree.flatten(layer.states)):
                found[f"{layer.name[:_MAX_NAME]}_state_{i}"] = variable
    return found


def check_written(scope: WatchedScope, model: Any, outputs: Iterable[Any], *, path: Path) -> None:
    """Check that no output of a Keras 3 model, called in `scope`, needs a variable that it wrote to.

    The states of its layers are not captured, since `scope` has them. What else is written for no output, such as the
    seed of a dropout that acts in training alone, changes no answer.

    Raises:
        InputError: one does; names the layer and the variable.
    """
    if scope.written:
        needed = {id(handle) for handle in graph_flow.captured(tf.compat.v1.get_default_graph(), outputs)}
        for variable in scope.written:
            if id(variable.value.handle) in needed:
                _refuse(path, variable.path, layer=_layer(model, variable))


def check_graph(concrete: Any, outputs: Iterable[Any], *, path: Path) -> None:
    """Check that no output of a traced function needs a variable of TensorFlow that it writes to.

    Raises:
        InputError: one does; names the variable, or the operation where it lies in a function that is called.
    """
    written = list(_written_in(concrete))
    if written:
        needed = {id(handle) for handle in graph_flow.captured(concrete.graph, outputs)}
        for handle, name in written:
            if handle is None or handle in needed:
                _check_stripped(concrete, path=path)
                _refuse(path, name, layer=name.rpartition("/")[0])


def _check_stripped(concrete: Any, *, path: Path) -> None:
    if any(variable.name.split(":")[0].endswith(_PRUNING) for variable in concrete.variables):
        raise InputError(
            f"{path}: the model was pruned and holds the pruning still, which changes weights when it runs: call "
            "tensorflow_model_optimization.sparsity.keras.strip_pruning(model) and save what it returns"
        )


def _written_in(concrete: Any) -> Iterator[tuple[int | None, str]]:
    """Yield each variable that is written, and its name, or that of the operation that writes one that has none here.

    The variable is the id of its handle, or None where that is not known.
    """
    outside = {id(inside): id(handle) for handle, inside in concrete.graph.captures}
    names = {id(variable.handle): variable.name.split(":")[0] for variable in concrete.variables}
    functions = {f.signature.name: f for f in concrete.graph.as_graph_def().library.function}
    for operation in concrete.graph.get_operations():
        for position in _written_by(operation.node_def, functions):
            handle = outside.get(id(operation.inputs[position])) if position is not None else None
            yield handle, names.get(handle, operation.name) if handle is not None else operation.name


def _written_by(node: Any, functions: Mapping[str, Any]) -> Iterator[int | None]:
    """Yield which inputs of an operation are variables that it writes, itself or in functions that it calls.

    None stands for a variable that comes into a function by another way than through an argument of its caller.
    """
    if node.op.startswith(rewrites.WRITES):
        yield 0
    for key, attribute in node.attr.items():
        function = functions.get(attribute.func.name)
        if function is None:
            continue
        arguments = [argument.name for argument in function.signature.input_arg]
        for inner in function.node_def:
            for position in _written_by(inner, functions):
                name = inner.input[position] if position is not None else ""
                yield arguments.index(name) if key == "f" and name in arguments else None


def _layer(model: Any, variable: Any) -> str:
    """Return the name of the innermost layer that owns a variable."""
    owners = [
        layer
        for layer in reversed(list(model._flatten_layers()))  # noqa: SLF001 - as Keras' own exporters walk nested models
        if any(owned is variable for owned in layer.variables)
    ]
    return str(min(owners, key=lambda layer: len(layer.variables)).name) if owners else ""


def _refuse(path: Path, variable: str, *, layer: str) -> None:
    whose = f"layer {layer!r}" if layer else "the model"
    if variable.endswith(_SEED):
        what = "draws random numbers when it runs, so that no two answers are alike"
        instead = "draw only where training is true, or take the random numbers as an input"
    else:
        what = f"changes its variable {variable!r} when it runs; only the states of recurrent Keras 3 layers are kept"
        instead = "write to it only where training is true, or return the value as an output"
    raise InputError(f"{path}: {whose} {what}: {instead}")
