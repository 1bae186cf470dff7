"""The export of a source model: loads it, runs it and converts it, in the child process `export.child`.

Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import tensorflow as tf

from edgemm import library_errors
from edgemm.bundle.manifest import Precision
from edgemm.errors import ConversionError, InputError
from edgemm_converter.children import array_files, edge_runs, samples, staged
from edgemm_converter.children.child import Progress, all_refused
from edgemm_converter.children.protocol import (
    Exported,
    ExportedVariant,
    ExportRequest,
    KnownUnits,
    SampleSet,
    SetKind,
)
from edgemm_converter.children.samples import InputSet
from edgemm_converter.data import arrays
from edgemm_converter.data.arrays import Array
from edgemm_converter.export import ordering, rows, undefined
from edgemm_converter.formats import onnx_client_values, output_units, tflite_client_values
from edgemm_converter.job import targets, variant_plan
from edgemm_converter.job.targets import Exporter
from edgemm_converter.judging import batch_axis, parity
from edgemm_converter.sources import varying
from edgemm_converter.sources.served_function import SourceFunction
from edgemm_runtime.tensors import comparison

_NOISE_RUNS, _REAL_NOISE_RUNS = 6, 64
"""Of each set, spread over its seeds; parity allows eight times what they show. Real data are less alike than noise."""

_REFUSALS = (tf.errors.OpError, ValueError)
_BATCH = 16
"""Runs that are one batch, as memory allows."""

_LENGTHS_OF: Mapping[str, Callable[[bytes], tuple[str, ...]]] = {
    "tflite:float32": tflite_client_values.length_notes,
    "onnx:float32": onnx_client_values.length_notes,
}


def export(request: ExportRequest, folder: Path, progress: Progress) -> Exported:
    """Load the source, save its outputs on all sample sets, and write a file for each variant.

    The source runs in a thread beside the conversion, which keeps no more than one core busy.
    """
    progress("loading the source model")
    source = rows.load(request, folder)
    model, function = source.model, source.function
    sets = _input_sets(request, model)
    for name, operation in varying.outputs(model, function).items():
        raise array_files.depends_on_data(name, f"it comes from {operation}")
    calibration = next((s for s in sets if s.kind is SetKind.CALIBRATION), None)
    maker = _Maker(model, calibration, folder)
    with ThreadPoolExecutor(max_workers=1) as beside:
        progress("running the source model")
        running = beside.submit(lambda: _run_source(model, function, sets, folder, request=request))
        try:
            variants, refused = _make(request, maker, progress)
        finally:
            stored, dependent = running.result()  # where both fail, that the source itself does is the reason
    signature = model.signature
    if dependent:
        signature = msgspec.structs.replace(signature, row_by_row=False)
        refused |= rows.of_one_row(variants, request, signature, dependent=dependent)
        variants = [variant for variant in variants if variant.id not in refused]
    if not variants:
        raise all_refused(refused.values())
    left_out = {variant_id: str(err) for variant_id, err in refused.items()}
    units = _units(variants, folder)
    return Exported(
        signature=signature, variants=tuple(variants), sets=stored, left_out=left_out, units=units,
        notes=(*model.notes, *source.notes, *_length_notes(variants, folder)),
    )  # fmt: skip


def _length_notes(variants: Iterable[ExportedVariant], folder: Path) -> tuple[str, ...]:
    """Return what to say of lengths that clients choose, by the float file of one engine."""
    for variant in variants:
        if variant.id in _LENGTHS_OF:
            return _LENGTHS_OF[variant.id]((folder / variant.file).read_bytes())
    return ()


def _units(variants: Iterable[ExportedVariant], folder: Path) -> dict[str, KnownUnits]:
    """Return what the float TFLite file, if there is one, tells of the units of outputs."""
    floats = next((v for v in variants if v.id == variant_plan.FLOATS.id), None)
    return output_units.known_units((folder / floats.file).read_bytes(), floats) if floats is not None else {}


def _make(
    request: ExportRequest, maker: _Maker, progress: Progress
) -> tuple[list[ExportedVariant], dict[str, ConversionError]]:
    """Make the variants; return those that can be made, and why the others cannot."""
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


def _input_sets(request: ExportRequest, model: SourceFunction) -> tuple[InputSet, ...]:
    inputs = model.signature.inputs
    calibration, evaluated = staged.matched(request, inputs)
    return samples.input_sets(model.signature, calibration=calibration, evaluation=evaluated)


def _whose(given: InputSet, request: ExportRequest) -> str:
    """Say what inputs these are, and what to do about them."""
    if given.kind is SetKind.EVALUATION and request.evaluation is not None:
        return f"the inputs of {request.evaluation.shown} (give values that it takes)"
    if request.calibration is not None:
        return f"inputs in the range of {request.calibration.shown} (give values that it takes)"
    return "random inputs (give --calibration with valid ones)"


def _run_source(
    model: SourceFunction, function: Any, sets: Iterable[InputSet], folder: Path, *, request: ExportRequest
) -> tuple[tuple[SampleSet, ...], str]:
    """Return what the source answers, and the name of an output whose rows depend on one another, or ""."""
    found, dependent = list[SampleSet](), ""
    for position, given in enumerate(sets):
        if given.kind is SetKind.EDGE:
            found += _edges(model, function, given, folder, number=position)
            continue
        try:
            outputs = array_files.answers(lambda run: model.run(function, run), given.arrays)
            dependent = dependent if position else rows.dependent_output(model, function, given, outputs)
            noise = _noise(model, function, given, outputs, batched=not dependent)
        except _REFUSALS as err:
            said = library_errors.quoted(err, layer=lambda failed: model.layer(failed.node))
            reason = f"{said}{batch_axis.open_lengths(model.signature)}"
            raise InputError(f"the source model itself fails on {_whose(given, request)}: {reason}") from err
        parity.check_finite(outputs, whose="the source model", data=given.kind)
        found.append(array_files.stored(given, outputs, folder, number=position, noise=noise))
    return tuple(found), dependent


def _edges(model: SourceFunction, function: Any, wanted: InputSet, folder: Path, *, number: int) -> Iterable[SampleSet]:
    """Run the source on those edge inputs that it takes; it may answer what is no number."""

    def run(inputs: dict[str, Array]) -> Mapping[str, Array]:
        return model.run(function, inputs)

    if (answered := edge_runs.answered(run, wanted, _REFUSALS)) is None:
        return
    given, outputs = answered
    moved = edge_runs.moved(run, given, outputs, _REFUSALS, orders=ordering.orders_values(function))
    if (reached := undefined.finder(function)) is not None:
        for i in range(given.runs):
            if reached([given.arrays[spec.name][i, ...] for spec in model.signature.inputs]):
                for values in moved.values():
                    values[i, ...] = np.inf
    yield array_files.stored(given, outputs, folder, number=number, moved=moved)


def _noise(
    model: SourceFunction, function: Any, given: InputSet, outputs: Mapping[str, Array], *, batched: bool
) -> dict[str, Array]:
    """Return how far each value of a run's outputs moves by rounding: inputs one step off, as one batch where free."""
    if given.kind is SetKind.EVALUATION:
        return {}
    real = given.kind is SetKind.CALIBRATION
    some = arrays.spread(given.runs, limit=_REAL_NOISE_RUNS if real else _NOISE_RUNS)
    moved = samples.one_step_off({name: array[some] for name, array in given.arrays.items()})
    expected = {name: array[some] for name, array in outputs.items()}
    if batched and all(map(batch_axis.has_open_batch, (*model.signature.inputs, *model.signature.outputs))):
        found = _in_batches(model, function, moved, expected)
    else:
        found = array_files.answers(lambda run: model.run(function, run), moved)
    return {name: comparison.errors(array, found[name]).max(axis=0) for name, array in expected.items()}


def _in_batches(
    model: SourceFunction, function: Any, inputs: Mapping[str, Array], like: Mapping[str, Array]
) -> dict[str, Array]:
    """Return the outputs of all runs, shaped as those in `like`, some runs at a time as one batch."""
    count = len(next(iter(inputs.values())))
    merged = [
        model.run(function, {name: np.concatenate(array[i : i + _BATCH]) for name, array in inputs.items()})
        for i in range(0, count, _BATCH)
    ]
    return {name: np.concatenate([one[name] for one in merged]).reshape(array.shape) for name, array in like.items()}


@dataclass
class _Maker:
    """Makes variants of one source, by one exporter for each engine."""

    model: SourceFunction
    calibration: InputSet | None
    folder: Path
    exporters: dict[str, Exporter] = field(default_factory=dict)

    def make(self, variant_id: str) -> ExportedVariant:
        """Write the file of one variant.

        Raises:
            ConversionError: it cannot be made.
        """
        engine, _, precision = variant_id.partition(":")
        if engine not in self.exporters:
            self.exporters[engine] = targets.target_of(engine).exporter(self.model, self.calibration)
        made = self.exporters[engine].make(Precision(precision))
        name = f"{variant_id.replace(':', '-')}.model"
        (self.folder / name).write_bytes(made.data)
        return ExportedVariant(
            id=variant_id, file=name, minimum_engine=made.minimum_engine, inputs=made.inputs, outputs=made.outputs,
            layers=dict(made.layers),
        )  # fmt: skip
