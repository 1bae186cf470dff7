"""SavedModels as served functions: one of their signatures. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from edgemm.errors import InputError
from edgemm_converter.job import naming
from edgemm_converter.rewrites import definitions
from edgemm_converter.sources import weights
from edgemm_converter.sources.served_function import (
    Shapes,
    SourceFunction,
    check_shapes,
    dims,
    served_dtype,
    spec_of,
    with_outputs,
)

_PYTHON = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
_DEFAULT_SIGNATURE = "serving_default"


def serve(loaded: Any, *, path: Path, signature_name: str | None, shapes: Shapes) -> SourceFunction:
    """Wrap one signature of a SavedModel, the default or only one where none is named.

    Raises:
        InputError: there is no such signature, or a choice of several; or a weight is NaN.
    """
    signature = _chosen_signature(dict(loaded.signatures), signature_name, path=path)
    _check_code(signature.graph, path=path)
    weights.check(signature.variables, path=path)
    specs = signature.structured_input_signature[1]
    names = naming.served(specs, prefix="input")
    check_shapes(names, shapes, path=path)
    inputs = tuple(
        spec_of(name, served_dtype(spec.dtype.name), shapes.get(name, dims(spec.shape)), path=path)
        for name, spec in zip(names, specs.values(), strict=True)
    )

    def call(tensors: Sequence[Any]) -> dict[str, Any]:
        typed = [tf.cast(tensor, spec.dtype) for tensor, spec in zip(tensors, specs.values(), strict=True)]
        found = signature(**dict(zip(specs, typed, strict=True)))
        return dict(zip(naming.served(found, prefix="output"), found.values(), strict=True))

    return with_outputs(inputs, call, owner=loaded, path=path)


def _check_code(graph: Any, *, path: Path) -> None:
    """Check that nothing calls back into the program that saved the model, whose code no SavedModel holds."""
    nodes = definitions.nodes(graph.as_graph_def())
    if (node := next((node for node in nodes if node.op in _PYTHON), None)) is not None:
        raise InputError(
            f"{path}: layer {naming.readable(node.name)!r} calls a Python function (tf.py_function or "
            "tf.numpy_function), whose code is not in the SavedModel: write it with TensorFlow's own operations, or do "
            "this part of the work outside the model"
        )


def _chosen_signature(signatures: Mapping[str, Any], wanted: str | None, *, path: Path) -> Any:
    key = wanted or (_DEFAULT_SIGNATURE if _DEFAULT_SIGNATURE in signatures else "")
    if wanted is None and len(signatures) == 1:
        return next(iter(signatures.values()))
    if key not in signatures:
        found = ", ".join(sorted(signatures)) or "none: export the model with model.export()"
        raise InputError(
            f"{path}: expected a signature {key or _DEFAULT_SIGNATURE!r}, found {found}; choose one with --signature"
        )
    return signatures[key]
