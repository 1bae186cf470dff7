"""The child process that finds the first layer at which a file differs from its source.

It is run as `python -m edgemm_converter.parting.child FOLDER`, when a variant failed. It loads the source once
more and compares all values that source and file both compute. Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgemm import library_errors
from edgemm.errors import ConversionError
from edgemm_converter.children import array_files, childside
from edgemm_converter.children.child import Progress
from edgemm_converter.children.protocol import PartedAt, PartingRequest
from edgemm_converter.data import arrays
from edgemm_converter.data.arrays import Array
from edgemm_converter.job import keras_version, targets
from edgemm_converter.judging import node_agreement
from edgemm_converter.judging.node_agreement import Node

if TYPE_CHECKING:
    from edgemm_converter.sources.served_function import SourceFunction

_RUNS = 4
Inputs = Mapping[str, Array]


def answer(request: PartingRequest, folder: Path, progress: Progress) -> PartedAt:
    """Name the first layer at which the variant parts from its source, "" where all that can be told agrees."""
    if keras_version.is_keras_2(Path(request.source.source), request.source.format):
        keras_version.choose_keras_2()
    import tensorflow as tf

    from edgemm_converter.sources import loading

    progress("looking for the layer that differs")
    try:
        model = loading.load(request.source, folder)
        file = (folder / request.variant.file).read_bytes()
        given = array_files.load(request.set.inputs, folder)
        some = arrays.spread(request.set.runs, limit=_RUNS)
        runs = list(array_files.each_run({name: array[some] for name, array in given.items()}))
        return PartedAt(layer=first_layer(model, file, request.variant.id, runs, limit=request.limit))
    except (LookupError, RuntimeError, TypeError, ValueError, tf.errors.OpError) as err:
        raise ConversionError(f"the layers cannot be compared: {library_errors.plain(err)}") from err


def first_layer(model: SourceFunction, file: bytes, variant: str, runs: Iterable[Inputs], *, limit: float) -> str:
    """Return the name of the first layer of a source whose values a file has not, on any of `runs` at batch 1.

    There are two runs or more: a value that is the same on both is a constant, and tells nothing.
    """
    from edgemm_converter import rewrites

    constant = model.constant(batch=1)
    operations = rewrites.needed(constant.outputs)
    used = {t.ref() for o in operations for t in o.inputs} | {t.ref() for t in constant.outputs}
    tensors = [t for o in operations for t in o.outputs if t.ref() in used]
    nodes = [Node(t.name, tuple(i.name for i in t.op.inputs)) for t in tensors]
    fetched = [t for t in tensors if t.dtype.is_floating and t.op.type != "Placeholder"]
    watch = constant.prune(constant.inputs, fetched)
    values = targets.target_of(variant.partition(":")[0]).layer_values()
    before: dict[str, Array] = {}
    for inputs in runs:
        source = {t.name: np.asarray(v) for t, v in zip(fetched, watch(*_tensors(model, inputs)), strict=True)}
        telling = {name: v for name, v in source.items() if name not in before or not np.array_equal(v, before[name])}
        if before and (name := node_agreement.first_parting(nodes, telling, values(file, model, inputs), limit=limit)):
            return model.layer(name)
        before = source
    return ""


def _tensors(model: SourceFunction, inputs: Inputs) -> list[Any]:
    import tensorflow as tf

    return [tf.constant(inputs[spec.name]) for spec in model.signature.inputs]


if __name__ == "__main__":
    childside.serve(PartingRequest, answer)
