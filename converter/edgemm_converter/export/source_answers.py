"""The answers of a source to its sample sets, and the variants made of it: the same for every kind of graph.

A source is asked through a `SourceGraph`, so that nothing here needs the library that it was made with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from edgemm.bundle.manifest import Signature
from edgemm.errors import ConversionError, InputError
from edgemm_converter.children import array_files, edge_runs, samples
from edgemm_converter.children.child import Progress
from edgemm_converter.children.protocol import ExportedVariant, ExportRequest, KnownUnits, SampleSet, SetKind
from edgemm_converter.children.samples import InputSet
from edgemm_converter.data import arrays
from edgemm_converter.data.arrays import Array
from edgemm_converter.formats import onnx_client_values, output_units, tflite_client_values
from edgemm_converter.job import variant_plan
from edgemm_converter.job.targets import MadeFile
from edgemm_converter.judging import batch_axis, parity
from edgemm_runtime.tensors import comparison

_NOISE_RUNS, _REAL_NOISE_RUNS = 6, 64
"""Of each set, spread over its seeds; parity allows eight times what they show. Real data are less alike than noise."""

_BATCH = 16
"""Runs that are one batch, as memory allows."""

_LENGTHS_OF: Mapping[str, Callable[[bytes], tuple[str, ...]]] = {
    "tflite:float32": tflite_client_values.length_notes,
    "onnx:float32": onnx_client_values.length_notes,
}


@dataclass(frozen=True)
class SourceGraph:
    """A loaded source as it is asked; `run` takes inputs by name and returns outputs by name."""

    signature: Signature
    run: Callable[[Mapping[str, Array]], dict[str, Array]]
    refusals: tuple[type[Exception], ...]
    """What `run` raises about inputs that it does not take."""

    reason: Callable[[Exception], str]
    """What to quote of one of them."""

    orders: bool
    """Whether it orders values, so that ties are decided by rounding."""

    undefined: Callable[[Mapping[str, Array]], bool] | None = None
    """Whether, for some inputs, NaN reaches an operation that has no rule for it; None where none can."""


class Maker(Protocol):
    """Makes variants of one source."""

    def make(self, variant_id: str) -> ExportedVariant:
        """Write the file of one variant.

        Raises:
            ConversionError: it cannot be made.
        """


def made(
    request: ExportRequest, maker: Maker, progress: Progress
) -> tuple[list[ExportedVariant], dict[str, ConversionError]]:
    """Make the variants; return those that can be made, and why the others cannot.

    Raises:
        ConversionError: one that was asked for by name cannot.
    """
    variants: list[ExportedVariant] = []
    refused: dict[str, ConversionError] = {}
    for variant_id in request.variants:
        progress(f"converting to {variant_id}")
        try:
            variants.append(maker.make(variant_id))
        except ConversionError as err:
            refused[variant_id] = err
            if variant_id in request.required:
                raise
    return variants, refused


def written(variant_id: str, made_file: MadeFile, folder: Path) -> ExportedVariant:
    """Put the file of a variant into the folder."""
    name = f"{variant_id.replace(':', '-')}.model"
    (folder / name).write_bytes(made_file.data)
    return ExportedVariant(
        id=variant_id, file=name, minimum_engine=made_file.minimum_engine, inputs=made_file.inputs,
        outputs=made_file.outputs, layers=dict(made_file.layers),
    )  # fmt: skip


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


def length_notes(variants: Iterable[ExportedVariant], folder: Path) -> tuple[str, ...]:
    """Return what to say of lengths that clients choose, by the float file of one engine."""
    for variant in variants:
        if variant.id in _LENGTHS_OF:
            return _LENGTHS_OF[variant.id]((folder / variant.file).read_bytes())
    return ()


def units(variants: Iterable[ExportedVariant], folder: Path) -> dict[str, KnownUnits]:
    """Return what the float TFLite file, if there is one, tells of the units of outputs."""
    floats = next((v for v in variants if v.id == variant_plan.FLOATS.id), None)
    return output_units.known_units((folder / floats.file).read_bytes(), floats) if floats is not None else {}


def run_source(
    source: SourceGraph, sets: Iterable[InputSet], folder: Path, *, request: ExportRequest
) -> tuple[tuple[SampleSet, ...], str]:
    """Return what the source answers, and the name of an output whose rows depend on one another, or "".

    Raises:
        InputError: it takes not what it is given, or answers what is no number.
    """
    found, dependent = list[SampleSet](), ""
    for position, given in enumerate(sets):
        if given.kind is SetKind.EDGE:
            found += _edges(source, given, folder, number=position)
            continue
        try:
            outputs = array_files.answers(source.run, given.arrays)
            dependent = dependent if position else _dependent_output(source, given, outputs)
            noise = _noise(source, given, outputs, batched=not dependent)
        except source.refusals as err:
            reason = f"{source.reason(err)}{batch_axis.open_lengths(source.signature)}"
            raise InputError(f"the source model itself fails on {_whose(given, request)}: {reason}") from err
        parity.check_finite(outputs, whose="the source model", data=given.kind)
        found.append(array_files.stored(given, outputs, folder, number=position, noise=noise))
    return tuple(found), dependent


def _whose(given: InputSet, request: ExportRequest) -> str:
    """Say what inputs these are, and what to do about them."""
    if given.kind is SetKind.EVALUATION and request.evaluation is not None:
        return f"the inputs of {request.evaluation.shown} (give values that it takes)"
    if request.calibration is not None:
        return f"inputs in the range of {request.calibration.shown} (give values that it takes)"
    return "random inputs (give --calibration with valid ones)"


def _dependent_output(source: SourceGraph, given: InputSet, outputs: Mapping[str, Array]) -> str:
    """Return the output whose rows depend on one another, "" where there is none; `given` is of batch 1."""

    def moved(values: Mapping[str, Array]) -> dict[str, Array]:
        return source.run(samples.one_step_off(values))

    return batch_axis.dependent_output(source.signature, source.run, given.arrays, moved=moved, known=outputs)


def _edges(source: SourceGraph, wanted: InputSet, folder: Path, *, number: int) -> Iterable[SampleSet]:
    """Run the source on those edge inputs that it takes; it may answer what is no number."""
    if (answered := edge_runs.answered(source.run, wanted, source.refusals)) is None:
        return
    given, outputs = answered
    moved = edge_runs.moved(source.run, given, outputs, source.refusals, orders=source.orders)
    if source.undefined is not None:
        for i, inputs in enumerate(array_files.each_run(given.arrays)):
            if source.undefined(inputs):
                for values in moved.values():
                    values[i, ...] = np.inf
    yield array_files.stored(given, outputs, folder, number=number, moved=moved)


def _noise(source: SourceGraph, given: InputSet, outputs: Mapping[str, Array], *, batched: bool) -> dict[str, Array]:
    """Return how far each value of a run's outputs moves by rounding: inputs one step off, as one batch where free."""
    if given.kind is SetKind.EVALUATION:
        return {}
    real = given.kind is SetKind.CALIBRATION
    some = arrays.spread(given.runs, limit=_REAL_NOISE_RUNS if real else _NOISE_RUNS)
    moved = samples.one_step_off({name: array[some] for name, array in given.arrays.items()})
    expected = {name: array[some] for name, array in outputs.items()}
    both = (*source.signature.inputs, *source.signature.outputs)
    if batched and all(map(batch_axis.has_open_batch, both)):
        found = _in_batches(source, moved, expected)
    else:
        found = array_files.answers(source.run, moved)
    return {name: comparison.errors(array, found[name]).max(axis=0) for name, array in expected.items()}


def _in_batches(source: SourceGraph, inputs: Mapping[str, Array], like: Mapping[str, Array]) -> dict[str, Array]:
    """Return the outputs of all runs, shaped as those in `like`, some runs at a time as one batch."""
    count = len(next(iter(inputs.values())))
    merged = [
        source.run({name: np.concatenate(array[i : i + _BATCH]) for name, array in inputs.items()})
        for i in range(0, count, _BATCH)
    ]
    return {name: np.concatenate([one[name] for one in merged]).reshape(array.shape) for name, array in like.items()}
