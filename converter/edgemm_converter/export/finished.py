"""Finished model files, such as `.tflite` and `.onnx`: each is run in its own engine and packaged byte for byte.

The file is its own source: the golden outputs are its own, and there is no other model to compare it with. A quantized
file is served in real numbers, as every variant is. This runs in the child process and imports no TensorFlow.

A file that keeps state between inferences is packaged where it was said that it does. Its samples are one sequence,
from a fresh interpreter, and another fresh one has to answer it alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from edgemm.bundle.manifest import DType, Signature, TensorSpec, Variant, VariantTensor
from edgemm.canonical import sha256
from edgemm.errors import EdgemmError, InputError
from edgemm_converter.children import array_files, edge_runs, samples, staged
from edgemm_converter.children.child import Progress
from edgemm_converter.children.protocol import Exported, ExportedVariant, ExportRequest, SampleSet, SetKind
from edgemm_converter.children.samples import InputSet
from edgemm_converter.data.arrays import Array
from edgemm_converter.export import varying_lengths
from edgemm_converter.export.varying_lengths import SamplesByShape
from edgemm_converter.job import targets
from edgemm_converter.job.targets import FinishedFile
from edgemm_converter.judging import batch_axis, parity
from edgemm_converter.metadata import carried
from edgemm_runtime import engines
from edgemm_runtime.engines.interface import WatchedModel
from edgemm_runtime.tensors import comparison

_USUAL_DEVIATIONS = 3.0
_REFUSALS = (EdgemmError,)
_NAMED = 3
_ADVICE = (
    "; give --calibration with inputs that it takes, or export the model again",
    "; look whether it takes the inputs of --calibration, or export the model again",
)
"""What to do about a file that its own engine does not run: without calibration data, and with them."""

_REPEATED = 1e-5
"""An answer repeats itself within this share of its scale: some engines add in another order each time."""


def export(request: ExportRequest, folder: Path, progress: Progress) -> Exported:
    """Read the file, run it in its engine on all sample sets, and hand it on unchanged.

    Raises:
        InputError: it is damaged, its engine cannot run it, it does not repeat itself, or whether it keeps state is not
            what was said.
    """
    progress("reading the finished model file")
    path = Path(request.source)
    data = path.read_bytes()
    engine = request.format
    file = targets.target_of(engine).reader()(path, data, signature=request.signature)
    _check_sides(path, file)
    _check_state(path, file.state, stateful=request.stateful)
    if request.stateful:
        file = replace(file, inputs=tuple(map(_of_one_client, file.inputs)))
    data = file.guarded or data
    variant = Variant(
        id=f"{engine}:{file.precision}", engine=engine, precision=file.precision,
        minimum_engine=file.minimum_engine, blob=sha256(data), inputs=file.inputs, outputs=file.outputs,
    )  # fmt: skip
    signature = Signature(inputs=_fixed(path, file, request.input_shapes), outputs=_served(file.outputs))
    settled = carried.settle(
        request.carried, file.inputs, file.outputs, has_labels=request.has_labels, declared=request.preprocessing
    )
    progress(f"running {variant.id} in its engine")
    try:
        signature, notes = (signature, ()) if request.stateful else _with_one_batch(variant, signature, data)
        if file.varying:
            varying_lengths.check(file.varying, signature, stateful=request.stateful)
            signature = varying_lengths.of_requests(signature)
        model = engines.load(variant, signature, data, stateful=request.stateful)
        wanted = _sets(request, variant, signature)
        if not (request.stateful or file.varying):
            dependent = _dependent_output(model, signature, wanted[0])
            signature = msgspec.structs.replace(signature, row_by_row=not dependent)
        wanted = [_valid(given, wanted, bounded=file.bounded) for given in wanted]
        parted = varying_lengths.parted(model.run, wanted) if file.varying else SamplesByShape(wanted, {})
        sets = tuple(
            s for i, given in enumerate(parted.sets) for s in _run(model, given, folder, number=i, golden=parted.golden)
        )
    except InputError as err:
        raise InputError(f"{path}: {err}") from err
    except EdgemmError as err:
        advice = batch_axis.open_lengths(signature) or _ADVICE[request.calibration is not None]
        raise InputError(f"{path}: its own engine does not run it: {err}{advice}") from err
    name = f"{variant.id.replace(':', '-')}.model"
    (folder / name).write_bytes(data)
    exported = ExportedVariant(
        id=variant.id, file=name, minimum_engine=file.minimum_engine, inputs=file.inputs, outputs=file.outputs
    )
    return Exported(signature=signature, variants=(exported,), sets=sets, notes=(*file.notes, *notes), settled=settled)


def _check_sides(path: Path, file: FinishedFile) -> None:
    """Check that the file takes and gives tensors, which an engine finds by their names."""
    for side, tensors in (("input", file.inputs), ("output", file.outputs)):
        if not tensors:
            raise InputError(
                f"{path}: the file has no {side}: a model is served for what it answers to what it is given"
            )
        names = [tensor.tensor for tensor in tensors]
        if "" in names or len(set(names)) < len(names):
            found = "one without a name" if "" in names else f"several of the name {max(names, key=names.count)!r}"
            raise InputError(
                f"{path}: expected {side}s of different names, by which an engine finds them; found {found}: export "
                "the file again with names"
            )


def _fixed(path: Path, file: FinishedFile, shapes: Mapping[str, tuple[int, ...]]) -> tuple[TensorSpec, ...]:
    """Return the served inputs, with open axes fixed as the user says; the file is not changed, its engine resizes it.

    Raises:
        InputError: there is no such input, or the file has it in another shape.
    """
    served = {spec.name: spec for spec in _served(file.inputs)}
    for name, wanted in shapes.items():
        if name not in served:
            raise InputError(f"{path}: --input-shape {name}: expected one of the inputs {', '.join(served)}")
        shape = served[name].shape
        if len(wanted) != len(shape) or any(has not in (-1, asked) for has, asked in zip(shape, wanted, strict=True)):
            raise InputError(
                f"{path}: --input-shape {name}={','.join(map(str, wanted))}: the file has it as {_words(shape)}, of "
                "which only the open axes can be fixed: export the file again with the shape that you need"
            )
        served[name] = msgspec.structs.replace(served[name], shape=wanted)
    return tuple(served.values())


def _with_one_batch(variant: Variant, signature: Signature, data: bytes) -> tuple[Signature, tuple[str, ...]]:
    """Return the signature, with the batch fixed at 1 where it is not the first axis of every input that has it."""
    model = engines.load(variant, signature, data)

    def computes(values: dict[str, Array]) -> bool:
        try:
            model.run(values)
        except EdgemmError:
            return False
        return True

    tied = batch_axis.other_batch_axes(signature, computes)
    if not tied:
        return signature, ()
    shapes = batch_axis.fixed_at_one(signature, tied)
    inputs = tuple(msgspec.structs.replace(s, shape=shapes.get(s.name, s.shape)) for s in signature.inputs)
    return msgspec.structs.replace(signature, inputs=inputs), (batch_axis.note(tied, shapes),)


def _dependent_output(model: engines.LoadedModel, signature: Signature, given: InputSet) -> str:
    return batch_axis.dependent_output(
        signature, model.run, given.arrays, moved=lambda values: model.run(samples.one_step_off(values))
    )


def _words(shape: Sequence[int]) -> str:
    return f"[{', '.join('any' if d == -1 else str(d) for d in shape)}]"


def _check_state(path: Path, state: tuple[str, ...], *, stateful: bool) -> None:
    """Check that whoever converts a file knows whether it keeps state: with state, it is served in another way."""
    if stateful and not state:
        raise InputError(f"{path}: the file keeps no state between inferences: leave --stateful out")
    if state and not stateful:
        more = f" and {len(state) - _NAMED} more" if len(state) > _NAMED else ""
        raise InputError(
            f"{path}: the file keeps state between inferences ({', '.join(state[:_NAMED])}{more}), so that clients who "
            "share it would get one another's answers: give --stateful, and each client is served in a sequence of its "
            "own; or export it with its state as inputs and outputs"
        )


def _of_one_client(tensor: VariantTensor) -> VariantTensor:
    """Return an input with a batch of 1, where the file takes any: one state is that of one client."""
    return msgspec.structs.replace(tensor, shape=(1, *tensor.shape[1:])) if tensor.shape[:1] == (-1,) else tensor


def _served(tensors: Iterable[VariantTensor]) -> tuple[TensorSpec, ...]:
    """Return the served tensors: real numbers where the file's are quantized."""
    return tuple(
        TensorSpec(name=t.name, dtype=DType.FLOAT32 if t.quantization else t.dtype, shape=t.shape) for t in tensors
    )


def _sets(request: ExportRequest, variant: Variant, signature: Signature) -> list[InputSet]:
    calibration, evaluated = staged.matched(request, signature.inputs)
    sets = samples.input_sets(signature, calibration=calibration, evaluation=evaluated)
    if request.stateful:
        sets = sets[:1]  # one sequence: values that no sensor gives would upset its state for good
    return [given if calibration is not None else _within_range(given, variant) for given in sets]


def _valid(given: InputSet, sets: Sequence[InputSet], *, bounded: bool) -> InputSet:
    """Leave out edge inputs with integers beyond those that the file is run on anyhow, where it is `bounded`.

    Those are in the range of the user's data or, without, of the random ones.
    """
    if given.kind is not SetKind.EDGE or not bounded:
        return given
    usual = next((s for s in sets if s.kind is SetKind.CALIBRATION), sets[0]).arrays
    integers = [name for name, array in given.arrays.items() if array.dtype.kind in "iu" and array.size]

    def known(run: int) -> bool:
        return all(_spans(usual[name], given.arrays[name][run, ...]) for name in integers)

    return given.of([run for run in range(given.runs) if known(run)])


def _spans(usual: Array, values: Array) -> bool:
    return bool(usual.size and usual.min() <= values.min() and values.max() <= usual.max())


def _within_range(given: InputSet, variant: Variant) -> InputSet:
    """Spread standard normal values over what a quantized input can hold, of which they would fill a corner."""
    if given.kind is not SetKind.RANDOM:
        return given
    tensors = {t.name: t for t in variant.inputs}
    spread = {name: _spread(array, tensors[name]) for name, array in given.arrays.items()}
    return InputSet(given.id, given.kind, spread, given.runs, given.samples, given.seeds)


def _spread(array: Array, tensor: VariantTensor) -> Array:
    if tensor.quantization is None:
        return array
    info, scale = np.iinfo(tensor.dtype.value), tensor.quantization.scale
    low, high = ((bound - tensor.quantization.zero_point) * scale for bound in (info.min, info.max))
    share = np.clip(array / (2 * _USUAL_DEVIATIONS) + 0.5, 0, 1)
    values: Array = (low + share * (high - low)).astype(array.dtype)
    return values


def _run(
    model: WatchedModel, given: InputSet, folder: Path, *, number: int, golden: varying_lengths.Shapes
) -> Iterable[SampleSet]:
    if given.kind is SetKind.EDGE:
        yield from _edges(model, given, folder, number=number, golden=golden)
        return
    fresh = model.fresh()
    outputs = array_files.answers(fresh.run, given.arrays)
    parity.check_finite(outputs, whose="the model file", data=given.kind)
    # A function is asked the first of them once more, and what keeps state the whole sequence.
    asked = given.arrays if fresh is not model else {name: array[:1] for name, array in given.arrays.items()}
    _check_repeats(outputs, array_files.answers(model.fresh().run, asked))
    yield array_files.stored(given, outputs, folder, number=number)


def _check_repeats(outputs: Mapping[str, Array], again: Mapping[str, Array]) -> None:
    """Check that a file gives its first answers again: what does not cannot be verified on a device."""
    for name, repeated in again.items():
        expected = outputs[name][: len(repeated)]
        if comparison.largest_error(expected, repeated) > _REPEATED * comparison.scale(outputs[name]):
            raise InputError(
                f"the file answers the same inputs in two ways in output {name!r}: it draws random numbers, or "
                "keeps state that is not seen in it; no device could verify it: export it without that"
            )


def _edges(
    model: engines.LoadedModel, wanted: InputSet, folder: Path, *, number: int, golden: varying_lengths.Shapes
) -> Iterable[SampleSet]:
    """Run the file on edge inputs, some of which become golden samples, which have the shapes `golden` if any."""
    if (answered := edge_runs.answered(model.run, wanted, _REFUSALS, shapes=golden)) is not None:
        given, outputs = answered
        moved = edge_runs.moved(model.run, given, outputs, _REFUSALS, orders=True)
        yield array_files.stored(given, outputs, folder, number=number, moved=moved)
