"""The export of a source model: loads it, runs it and converts it, in the child process `export.child`.

Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import tensorflow as tf

from edgemm import library_errors
from edgemm.bundle.manifest import Precision
from edgemm_converter.children import array_files, samples, staged
from edgemm_converter.children.child import Progress, all_refused
from edgemm_converter.children.protocol import Exported, ExportedVariant, ExportRequest, SetKind
from edgemm_converter.children.samples import InputSet
from edgemm_converter.data.arrays import Array
from edgemm_converter.export import source_answers, undefined
from edgemm_converter.export.source_answers import SourceGraph
from edgemm_converter.job import targets
from edgemm_converter.job.targets import Exporter
from edgemm_converter.judging import batch_axis
from edgemm_converter.sources import loading, varying
from edgemm_converter.sources.served_function import SourceFunction

_REFUSALS = (tf.errors.OpError, ValueError)


@dataclass(frozen=True)
class _Source:
    """A loaded source, its function as the signature says, and what it made necessary."""

    model: SourceFunction
    function: Any
    """Traced already: what is set for tracing while variants are made does not reach it."""

    notes: tuple[str, ...] = ()


def export(request: ExportRequest, folder: Path, progress: Progress) -> Exported:
    """Load the source, save its outputs on all sample sets, and write a file for each variant.

    The source runs in a thread beside the conversion, which keeps no more than one core busy.
    """
    progress("loading the source model")
    source = _load(request, folder)
    model, function = source.model, source.function
    sets = _input_sets(request, model)
    for name, operation in varying.outputs(model, function).items():
        raise array_files.depends_on_data(name, f"it comes from {operation}")
    calibration = next((s for s in sets if s.kind is SetKind.CALIBRATION), None)
    maker = _Maker(model, calibration, folder)
    with ThreadPoolExecutor(max_workers=1) as beside:
        progress("running the source model")
        running = beside.submit(
            lambda: source_answers.run_source(_graph(model, function), sets, folder, request=request)
        )
        try:
            variants, refused = source_answers.made(request, maker, progress)
        finally:
            stored, dependent = running.result()  # where both fail, that the source itself does is the reason
    signature = model.signature
    if dependent:
        signature = msgspec.structs.replace(signature, row_by_row=False)
        refused |= source_answers.of_one_row(variants, request, signature, dependent=dependent)
        variants = [variant for variant in variants if variant.id not in refused]
    if not variants:
        raise all_refused(refused.values())
    left_out = {variant_id: str(err) for variant_id, err in refused.items()}
    return Exported(
        signature=signature, variants=tuple(variants), sets=stored, left_out=left_out,
        units=source_answers.units(variants, folder),
        notes=(*model.notes, *source.notes, *source_answers.length_notes(variants, folder)),
    )  # fmt: skip


def _load(request: ExportRequest, folder: Path) -> _Source:
    """Load the source, with its batch fixed at 1 where that is not the first axis of every input that has it.

    Raises:
        InputError: it cannot be opened.
    """
    model = loading.load(request, folder)
    function = model.concrete(batch=None)
    tied = batch_axis.other_batch_axes(model.signature, lambda values: _computes(model, function, values))
    if not tied:
        return _Source(model, function)
    shapes = batch_axis.fixed_at_one(model.signature, tied)
    fixed = msgspec.structs.replace(request, input_shapes={**request.input_shapes, **shapes})
    model = loading.load(fixed, folder)
    return _Source(model, model.concrete(batch=None), (batch_axis.note(tied, shapes),))


def _computes(model: SourceFunction, function: Any, values: Mapping[str, Array]) -> bool:
    try:
        model.run(function, values)
    except _REFUSALS:
        return False
    return True


def _input_sets(request: ExportRequest, model: SourceFunction) -> tuple[InputSet, ...]:
    inputs = model.signature.inputs
    calibration, evaluated = staged.matched(request, inputs)
    return samples.input_sets(model.signature, calibration=calibration, evaluation=evaluated)


def _graph(model: SourceFunction, function: Any) -> SourceGraph:
    reached = undefined.finder(function)
    return SourceGraph(
        signature=model.signature,
        run=lambda inputs: model.run(function, inputs),
        refusals=_REFUSALS,
        reason=lambda err: library_errors.quoted(err, layer=lambda failed: model.layer(failed.node)),
        orders=undefined.orders_values(function),
        undefined=reached and (lambda inputs: reached([inputs[spec.name] for spec in model.signature.inputs])),
    )


@dataclass
class _Maker:
    """Makes variants of one source, by one exporter for each engine."""

    model: SourceFunction
    calibration: InputSet | None
    folder: Path
    exporters: dict[str, Exporter] = field(default_factory=dict)

    def make(self, variant_id: str) -> ExportedVariant:
        """Write the file of one variant; see `source_answers.Maker`."""
        engine, _, precision = variant_id.partition(":")
        if engine not in self.exporters:
            self.exporters[engine] = targets.target_of(engine).exporter(self.model, self.calibration)
        return source_answers.written(variant_id, self.exporters[engine].make(Precision(precision)), self.folder)
