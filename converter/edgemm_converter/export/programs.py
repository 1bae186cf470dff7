"""The export of an exported program of PyTorch, in the child process `export.child`; imports no TensorFlow.

ONNX is written by torch.onnx and TFLite by litert-torch, whose float file other precisions are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import onnx

from edgemm import library_errors
from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import Precision, Signature, TensorSpec
from edgemm.errors import ConversionError, InputError
from edgemm_converter.children import array_files, samples, staged
from edgemm_converter.children.child import Progress, all_refused
from edgemm_converter.children.protocol import Exported, ExportedVariant, ExportRequest, SetKind
from edgemm_converter.children.samples import InputSet
from edgemm_converter.data.arrays import Array
from edgemm_converter.export import source_answers
from edgemm_converter.export.onnx_canonical import canonicalize, file_tensors
from edgemm_converter.export.onnx_operations import keep_zeros_in_maxima
from edgemm_converter.export.source_answers import SourceGraph
from edgemm_converter.formats import onnx_client_values, onnx_file
from edgemm_converter.job.targets import Exporter, MadeFile
from edgemm_converter.judging import batch_axis
from edgemm_converter.programs import open_answers, program, program_onnx
from edgemm_converter.programs.program import Program
from edgemm_runtime.tensors import comparison

_CHANNELS = (1, 3)
_REPEATED = 1e-5
"""An answer repeats itself within this share of its scale: threads add in another order each time."""


def export(request: ExportRequest, folder: Path, progress: Progress) -> Exported:
    """Open the source, save its answers on all sample sets, and write a file for each variant.

    Raises:
        InputError: it cannot be opened or served, or data do not fit it.
        ConversionError: no variant can be made of it.
    """
    progress("loading the source model")
    source, notes = _load(request, folder)
    calibration, evaluated = staged.matched(request, source.signature.inputs)
    sets = samples.input_sets(source.signature, calibration=calibration, evaluation=evaluated)
    progress("running the source model")
    _check_repeats(source, sets[0])
    stored, dependent = source_answers.run_source(_graph(source), sets, folder, request=request)
    maker = _Maker(source, next((s for s in sets if s.kind is SetKind.CALIBRATION), None), folder)
    variants, refused = source_answers.made(request, maker, progress)
    signature = source.signature
    if dependent:
        signature = msgspec.structs.replace(signature, row_by_row=False)
        refused |= source_answers.of_one_row(variants, request, signature, dependent=dependent)
        variants = [variant for variant in variants if variant.id not in refused]
    if not variants:
        raise all_refused(refused.values())
    return Exported(
        signature=signature, variants=tuple(variants), sets=stored,
        left_out={variant_id: str(err) for variant_id, err in refused.items()},
        units=source_answers.units(variants, folder),
        notes=(*notes, *_layouts(request, signature), *source_answers.length_notes(variants, folder)),
    )  # fmt: skip


def _load(request: ExportRequest, folder: Path) -> tuple[Program, tuple[str, ...]]:
    """Load the source, with its batch fixed at 1 where that is not the first axis of every input that has it."""

    def load(shapes: Mapping[str, tuple[int, ...]]) -> Program:
        path = Path(request.source)
        return program.load(path, folder, shapes=shapes, allow_pickle=request.allow_pickle)

    def computes(values: Mapping[str, Array]) -> bool:
        try:
            source.run(values)
        except program.REFUSALS:
            return False
        return True

    source = load(request.input_shapes)
    tied = batch_axis.other_batch_axes(source.signature, computes)
    if not tied:
        return source, ()
    shapes = batch_axis.fixed_at_one(source.signature, tied)
    return load({**request.input_shapes, **shapes}), (batch_axis.note(tied, shapes),)


def _check_repeats(source: Program, given: InputSet) -> None:
    """Check that a program gives its first answer again, if it gives any."""
    once = next(array_files.each_run(given.arrays))
    try:
        first, second = source.run(once), source.run(once)
    except program.REFUSALS:
        return  # which is told where all are run
    for name, answer in first.items():
        if comparison.largest_error(answer, second[name]) > _REPEATED * comparison.scale(answer):
            raise InputError(
                f"output {name!r} of the program answers the same inputs in two ways: it draws random numbers, and no "
                "device could verify it: call model.eval() before torch.export.export(), or give them to it as an input"
            )


def _graph(source: Program) -> SourceGraph:
    return SourceGraph(
        signature=source.signature,
        run=source.run,
        refusals=program.REFUSALS,
        reason=library_errors.quoted,
        orders=open_answers.orders_values(source.exported),
        undefined=open_answers.finder(source),
    )


def _layouts(request: ExportRequest, signature: Signature) -> tuple[str, ...]:
    """Say which inputs look like images with their channels first, where nothing says how they are made of images."""
    return tuple(
        f"input {spec.name!r} has its channels before height and width {list(spec.shape)}, as PyTorch's images: where "
        'it is one, --preprocess with layout = "chw" makes it of JPEG and PNG'
        for spec in signature.inputs
        if spec.name not in request.preprocessing and _is_image(spec)
    )


def _is_image(spec: TensorSpec) -> bool:
    return len(spec.shape) == 4 and spec.shape[1] in _CHANNELS and spec.shape[-1] not in _CHANNELS


@dataclass
class _Maker:
    """Makes variants of one program, by one exporter for each engine."""

    source: Program
    calibration: InputSet | None
    folder: Path
    exporters: dict[str, Exporter] = field(default_factory=dict)

    def make(self, variant_id: str) -> ExportedVariant:
        """Write the file of one variant; see `source_answers.Maker`."""
        engine, _, precision = variant_id.partition(":")
        known: dict[str, Callable[[], Exporter]] = {Engine.ONNX: self._onnx, Engine.TFLITE: self._tflite}
        if engine not in known:
            raise ConversionError(f"{engine}: no files for it are made of PyTorch programs: leave it out with --target")
        if engine not in self.exporters:
            self.exporters[engine] = known[engine]()
        return source_answers.written(variant_id, self.exporters[engine].make(Precision(precision)), self.folder)

    def _onnx(self) -> Exporter:
        return _OnnxFile(self.source)

    def _tflite(self) -> Exporter:
        from edgemm_converter.export.float_file import FloatFileExporter
        from edgemm_converter.programs import program_tflite

        names = program_tflite.LiteNames(self.source)
        return FloatFileExporter(names, self.calibration, lambda: program_tflite.of(self.source))


@dataclass(frozen=True)
class _OnnxFile:
    """Makes the ONNX file of one program."""

    source: Program

    def make(self, _precision: Precision) -> MadeFile:
        """Return the float32 file; see `targets.Exporter`."""
        proto = program_onnx.of(self.source)
        keep_zeros_in_maxima(proto)
        canonicalize(proto)
        guarded, _ = onnx_client_values.guarded(proto)
        if guarded is not None:
            proto = onnx.load_model_from_string(guarded)
            canonicalize(proto)
        try:
            onnx.checker.check_model(proto)
        except onnx.checker.ValidationError as err:
            raise ConversionError(f"ONNX: {library_errors.plain(err)}; leave ONNX out with --target tflite") from err
        file = bytes(proto.SerializeToString(deterministic=True))
        inputs, outputs = file_tensors(self.source.signature, self.source.input_ids, self.source.output_ids)
        return MadeFile(file, onnx_file.minimum_engine(file), inputs, outputs)
