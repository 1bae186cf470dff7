"""The rows of a source's batch: its loading with a batch that a device can split, and what its rows do to each other.

Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import tensorflow as tf

from edgemm.bundle.manifest import Signature
from edgemm.errors import ConversionError
from edgemm_converter.children import samples
from edgemm_converter.children.protocol import ExportedVariant, ExportRequest
from edgemm_converter.children.samples import InputSet
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import batch_axis
from edgemm_converter.sources import loading
from edgemm_converter.sources.served_function import SourceFunction


@dataclass(frozen=True)
class Source:
    """A loaded source, its function as the signature says, and what it made necessary."""

    model: SourceFunction
    function: Any
    """Traced already: what is set for tracing while variants are made does not reach it."""

    notes: tuple[str, ...] = ()


def load(request: ExportRequest, folder: Path) -> Source:
    """Load the source, with its batch fixed at 1 where that is not the first axis of every input that has it.

    Raises:
        InputError: it cannot be opened.
    """
    model = loading.load(request, folder)
    function = model.concrete(batch=None)
    tied = batch_axis.other_batch_axes(model.signature, lambda values: _computes(model, function, values))
    if not tied:
        return Source(model, function)
    shapes = batch_axis.fixed_at_one(model.signature, tied)
    fixed = msgspec.structs.replace(request, input_shapes={**request.input_shapes, **shapes})
    model = loading.load(fixed, folder)
    return Source(model, model.concrete(batch=None), (batch_axis.note(tied, shapes),))


def _computes(model: SourceFunction, function: Any, values: Mapping[str, Array]) -> bool:
    try:
        model.run(function, values)
    except (tf.errors.OpError, ValueError):
        return False
    return True


def of_one_row(
    variants: Iterable[ExportedVariant], request: ExportRequest, signature: Signature, *, dependent: str
) -> dict[str, ConversionError]:
    """Refuse the variants whose file takes one row at a time, of a model whose rows have a part in each other.

    Raises:
        ConversionError: one was asked for by name.
    """
    refused = {}
    for variant in variants:
        tensors = {tensor.name: tensor for tensor in variant.inputs}
        looped = [s for s in signature.inputs if batch_axis.has_open_batch(s) and tensors[s.name].shape[:1] == (1,)]
        if looped:
            refused[variant.id] = ConversionError(batch_axis.one_row(variant.id, looped, dependent=dependent))
            if variant.id in request.required:
                raise refused[variant.id]
    return refused


def dependent_output(source: SourceFunction, function: Any, given: InputSet, outputs: Mapping[str, Array]) -> str:
    """Return the output whose rows depend on one another, "" where there is none; `given` is of batch 1."""

    def run(values: Mapping[str, Array]) -> dict[str, Array]:
        return source.run(function, values)

    def moved(values: Mapping[str, Array]) -> dict[str, Array]:
        return run(samples.one_step_off(values))

    return batch_axis.dependent_output(source.signature, run, given.arrays, moved=moved, known=outputs)
