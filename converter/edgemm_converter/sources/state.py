"""The state of a model between calls: permitted states become inputs and outputs, other writes are refused.

A model in a bundle is a function. A layer that counts calls, averages its inputs or draws random numbers would do so
once, on the workstation, and then be frozen. Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from edgemm.errors import InputError

_WRITES = ("Assign", "ResourceScatter", "ResourceStridedSliceAssign")
_SEED = "seed_generator_state"


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
                found[f"{layer.name}_state_{i}"] = variable
    return found


def check_written(scope: WatchedScope, model: Any, *, states: Mapping[str, Any], path: Path) -> None:
    """Check that a Keras 3 model, called in `scope`, wrote to no variable but its layers' states.

    Raises:
        InputError: it did; names the layer and the variable.
    """
    allowed = {id(variable) for variable in states.values()}
    for variable in scope.written:
        if id(variable) not in allowed:
            _refuse(path, variable.path, layer=_layer(model, variable))


def check_graph(concrete: Any, *, path: Path) -> None:
    """Check that a traced function writes to no variable of TensorFlow.

    Raises:
        InputError: it does; names the variable, or the operation where it lies in a function that is called.
    """
    for name in _written_in(concrete):
        _refuse(path, name, layer=name.rpartition("/")[0])


def _written_in(concrete: Any) -> Iterator[str]:
    """Yield the name of each variable that is written, or of the operation that writes one that has no name here."""
    outside = {id(inside): id(handle) for handle, inside in concrete.graph.captures}
    names = {id(variable.handle): variable.name.split(":")[0] for variable in concrete.variables}
    functions = {f.signature.name: f for f in concrete.graph.as_graph_def().library.function}
    for operation in concrete.graph.get_operations():
        for position in _written_by(operation.node_def, functions):
            handle = outside.get(id(operation.inputs[position])) if position is not None else None
            yield names.get(handle, operation.name) if handle is not None else operation.name


def _written_by(node: Any, functions: Mapping[str, Any]) -> Iterator[int | None]:
    """Yield which inputs of an operation are variables that it writes, itself or in functions that it calls.

    None stands for a variable that comes into a function by another way than through an argument of its caller.
    """
    if node.op.startswith(_WRITES):
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
