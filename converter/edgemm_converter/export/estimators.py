"""The export of an estimator: opens it, runs it and converts it, in the child process `export.child`.

Imports scikit-learn and ONNX, and no TensorFlow. Single precision is tried first; where a graph of it parts from the
source by more than rounding, double precision is taken. Rows at the thresholds of trees are among the edge inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edgemm import library_errors
from edgemm.bundle.manifest import DType, Precision, TensorSpec, Variant, VariantTensor
from edgemm.canonical import sha256
from edgemm.errors import ConversionError, InputError, ParityError
from edgemm_converter.children import array_files, edge_runs, samples, staged
from edgemm_converter.children.child import Progress, all_refused
from edgemm_converter.children.protocol import Exported, ExportedVariant, ExportRequest, SampleSet, SetKind
from edgemm_converter.children.samples import InputSet
from edgemm_converter.data import arrays, column_data, rounded_rows
from edgemm_converter.data.arrays import Array
from edgemm_converter.data.datasets import LABELS
from edgemm_converter.estimators import (
    estimator,
    estimator_graph,
    file_opening,
    hard_rows,
    onnx_session,
    sample_rows,
)
from edgemm_converter.estimators.estimator import INPUT, LABEL, PROBABILITIES, REFUSALS, SCORES, Estimator
from edgemm_converter.export.lite import lite_variants
from edgemm_converter.export.onnx_canonical import canonicalize
from edgemm_converter.formats import onnx_file
from edgemm_converter.judging import edges, parity
from edgemm_converter.judging.edge_limits import EdgeRuns, Ordinary
from edgemm_converter.metadata.carried import Settled
from edgemm_runtime.tensors import comparison
from edgemm_runtime.tensors.named_inputs import by_name

_NOISE_RUNS, _ROWS_AT_ONCE = 64, 4096
_UNDECIDED = 1e-5
"""Below this share of the scale of the scores, two classes are as good as each other: rounding decides."""

_ROUNDING = 1e-5
"""Up to this share of an output's scale, single precision is as good as double."""

_VARIANT = "onnx:float32"
_DOUBLE = "single precision parts from the source by more than rounding: onnx:float32 computes in double precision"


@dataclass(frozen=True)
class _Answered:
    """A sample set with what the source answers to it; arrays are [runs, batch, …] by name."""

    given: InputSet
    outputs: Mapping[str, Array]
    noise: Mapping[str, Array] = field(default_factory=dict)
    moved: Mapping[str, Array] | None = None
    """Of edge inputs, how far each value moves by rounding."""

    undecided: npt.NDArray[np.bool_] | None = None
    """Rows [runs, batch] whose label rounding alone decides; None where labels have no scores."""

    def written(self, folder: Path, number: int) -> SampleSet:
        """Put it into the folder."""
        undecided = {LABEL: self.undecided} if self.undecided is not None and self.moved is None else {}
        return array_files.stored(
            self.given, self.outputs, folder, number=number, noise=self.noise, moved=self.moved, undecided=undecided
        )


def export(request: ExportRequest, folder: Path, progress: Progress) -> Exported:
    """Open the source, save its answers on all sample sets, and write its file.

    Raises:
        InputError: it cannot be opened, was never fitted, or data do not fit it.
        ConversionError: it cannot be converted.
    """
    progress("loading the source model")
    notes: list[str] = []
    opened = file_opening.opened(request, notes)
    source = estimator.of(opened, path=request.source, rows=_given_rows(request), declared=request.columns)
    calibration, evaluated = staged.matched(request, source.signature.inputs, order=source.order)
    sets = sample_rows.input_sets(source, calibration=calibration, evaluation=evaluated)
    progress("running the source model")
    answered: list[_Answered] = []
    refused: InputSet | None = None
    for one in sets:
        if one.kind is SetKind.EDGE:
            answered += _edges(source, one)
            refused = sample_rows.refused(source, one)
        else:
            answered.append(_ordinary(source, one, request))
    variants = list[ExportedVariant]()
    if _VARIANT in request.variants:
        progress(f"converting to {_VARIANT}")
        variant, double = _onnx(source, answered, refused, folder)
        variants.append(variant)
        notes += [_DOUBLE] if double else []
    real = next((one for one in sets if one.kind is SetKind.CALIBRATION), None)
    lite = lite_variants.of(
        request, lambda: _single(source), source.signature, quantize=partial(_quantized, real),
        folder=folder, progress=progress,
    )  # fmt: skip
    if not (variants or lite.made):
        raise all_refused(lite.left_out.values())
    return Exported(
        signature=source.signature,
        variants=(*variants, *lite.made),
        sets=tuple(one.written(folder, number) for number, one in enumerate(answered)),
        settled=Settled(labels=source.labels, lines=_lines(source, request)),
        left_out=lite.left_out,
        notes=(*notes, *_rounded(source, request)),
    )


def _quantized(calibration: InputSet | None, floats: bytes, precision: Precision) -> bytes:
    """Return a float32 TFLite file in another precision.

    Raises:
        ConversionError: it cannot be made.
    """
    from edgemm_converter.export import quantization

    given = calibration.arrays if calibration is not None else None
    file = quantization.quantize(floats, precision, calibration=given)
    quantization.check_weights(file, precision)
    return file


def _onnx(
    source: Estimator, answered: Sequence[_Answered], refused: InputSet | None, folder: Path
) -> tuple[ExportedVariant, bool]:
    """Write the ONNX file; tell whether it computes in double precision."""
    file, double = _file(source, answered)
    _check_refusals(source, file, refused)
    name = "onnx-float32.model"
    (folder / name).write_bytes(file)
    variant = ExportedVariant(
        id=_VARIANT, file=name, minimum_engine=onnx_file.minimum_engine(file),
        inputs=_inputs(source), outputs=_tensors(source.signature.outputs),
    )  # fmt: skip
    return variant, double


def _given_rows(request: ExportRequest) -> Array | None:
    """Return a user's rows, before it is known whether they fit."""
    data = request.calibration or request.evaluation
    if data is None:
        return None
    found = [array for name, array in arrays.read(Path(data.file)).items() if name != LABELS]
    if found and all(array.ndim == 1 for array in found):
        return column_data.as_rows(found)
    return found[0] if len(found) == 1 and found[0].ndim == 2 and found[0].dtype.kind in "biuf" else None


def _rounded(source: Estimator, request: ExportRequest) -> Iterator[str]:
    """Say where a user's own rows are answered in another way once they are float32."""
    inputs = source.signature.inputs
    for data in filter(None, (request.calibration, request.evaluation)):
        found = {name: array for name, array in arrays.read(Path(data.file)).items() if name != LABELS}
        given = column_data.for_inputs(found, inputs, source.order, path=data.shown)
        named = by_name(given, inputs) or {}
        some = {name: array[arrays.spread(len(array), limit=rounded_rows.MOST_ROWS)] for name, array in named.items()}
        floats = [spec for spec in inputs if spec.dtype is DType.FLOAT32 and some.get(spec.name) is not None]
        if not floats or any(some[spec.name].ndim != len(spec.shape) for spec in floats):
            continue
        names = source.order if source.columns is None else tuple(spec.name for spec in floats)
        said = rounded_rows.warning(
            np.column_stack([some[spec.name] for spec in floats]), partial(_exactly, source, some, floats),
            path=data.shown, names=names,
        )  # fmt: skip
        yield from [said] if said else []


def _exactly(
    source: Estimator, some: Mapping[str, Array], floats: Sequence[TensorSpec], rows: Array
) -> dict[str, Array]:
    """Return the answers to some inputs whose columns of `floats` are those of `rows`, in whatever precision."""
    if source.columns is None:
        return source.run({INPUT: rows})
    return source.run({**some, **{spec.name: rows[:, place] for place, spec in enumerate(floats)}})


def _lines(source: Estimator, request: ExportRequest) -> tuple[str, ...]:
    if source.labels is None:
        return ()
    shown = ", ".join(source.labels[:3]) + (", …" if len(source.labels) > 3 else "")
    taken = "not taken, since --labels was given" if request.has_labels else "taken"
    return (f"labels: the {len(source.labels)} classes of the model ({shown}), {taken}",)


def _tensors(specs: Sequence[TensorSpec]) -> tuple[VariantTensor, ...]:
    return tuple(VariantTensor(name=s.name, tensor=s.name, dtype=s.dtype, shape=s.shape) for s in specs)


def _inputs(source: Estimator) -> tuple[VariantTensor, ...]:
    names = estimator_graph.input_names(source)
    return tuple(msgspec.structs.replace(one, tensor=names[one.name]) for one in _tensors(source.signature.inputs))


def _answers(source: Estimator, file: bytes) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """Return what runs a file on inputs by the names of the signature."""
    session = onnx_session.FileSession(file)
    outputs, names = [spec.name for spec in source.signature.outputs], estimator_graph.input_names(source)
    return lambda inputs: session.run({names[name]: array for name, array in inputs.items()}, outputs)


def _run_all(source: Estimator, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the answers [runs, batch, …] to inputs [runs, batch, …], many rows at a time."""
    rows = {name: array.reshape(-1, *array.shape[2:]) for name, array in inputs.items()}
    runs, batch = next(iter(inputs.values())).shape[:2]
    found = [
        source.run({name: array[i : i + _ROWS_AT_ONCE] for name, array in rows.items()})
        for i in range(0, runs * batch, _ROWS_AT_ONCE)
    ]
    return {
        name: np.concatenate([one[name] for one in found]).reshape(runs, batch, *found[0][name].shape[1:])
        for name in found[0]
    }


def _check_refusals(source: Estimator, file: bytes, refused: InputSet | None) -> None:
    """Check that a file of named columns refuses what the source does: an unknown category that is an error there.

    Raises:
        ConversionError: it answers; names the input.
    """
    if refused is None:
        return
    answer = _answers(source, file)
    for run, inputs in enumerate(array_files.each_run(refused.arrays)):
        try:
            answer(inputs)
        except ConversionError:
            continue
        raise ConversionError(
            f"{_VARIANT}: the source refuses {refused.names[run]!r}, and what was converted answers it: have the "
            "encoder take unknown values (handle_unknown), or leave the column out"
        )


def _ordinary(source: Estimator, given: InputSet, request: ExportRequest) -> _Answered:
    try:
        outputs = _run_all(source, given.arrays)
        some = arrays.spread(given.runs, limit=_NOISE_RUNS)
        few = {name: array[some] for name, array in given.arrays.items()}
        moved = _moved(source, few) or {name: array[some] for name, array in outputs.items()}
    except REFUSALS as err:
        whose = "random inputs (give --calibration with valid ones)"
        if given.kind is SetKind.EVALUATION and request.evaluation is not None:
            whose = f"the inputs of {request.evaluation.shown} (give values that it takes)"
        elif request.calibration is not None:
            whose = f"inputs in the range of {request.calibration.shown} (give values that it takes)"
        raise InputError(f"the source model itself fails on {whose}: {library_errors.quoted(err)}") from err
    parity.check_finite(outputs, whose="the source model", data=given.kind)
    noise = {name: comparison.errors(array[some], moved[name]).max(axis=0) for name, array in outputs.items()}
    undecided = _undecided(outputs)
    if undecided is not None and undecided.any():  # a golden sample may be one of them
        noise[LABEL] = np.full_like(noise[LABEL], float(np.ptp(outputs[LABEL])) or 1.0)
    return _Answered(given, outputs, noise, undecided=undecided)


def _moved(source: Estimator, inputs: Mapping[str, Array]) -> Mapping[str, Array] | None:
    """Return the answers to inputs of one rounding beside; None where the source takes certain values alone."""
    try:
        return _run_all(source, samples.one_step_off(inputs))
    except REFUSALS:
        return None


def _edges(source: Estimator, wanted: InputSet) -> Iterator[_Answered]:
    def run(inputs: dict[str, Array]) -> Mapping[str, Array]:
        return source.run(inputs)

    if (found := edge_runs.answered(run, wanted, REFUSALS)) is None:
        return
    given, outputs = found
    moved = edge_runs.moved(run, given, outputs, REFUSALS, orders=False)
    ties = np.array([family == hard_rows.TIES for family in given.families])
    for values in moved.values():
        values[ties] = 0.0  # there are ties where thresholds, and the steps before them, are exact
    undecided = _undecided(outputs, far=True)
    if undecided is not None:
        moved[LABEL] = np.where(undecided, np.inf, moved[LABEL])
    yield _Answered(given, outputs, moved=moved, undecided=undecided)


def _undecided(outputs: Mapping[str, Array], *, far: bool = False) -> npt.NDArray[np.bool_] | None:
    """Tell for each row [runs, batch] whether its label hangs on rounding: the best scores are equal but for that.

    A label that is not the first of scores that are the same to the bit hangs on something else, as on the decisions
    that a probability of 0 or 1 was cut from: it is judged, but for rows `far` from data, where many are cut.
    """
    scores = next((outputs[name] for name in (PROBABILITIES, SCORES, "distances") if name in outputs), None)
    if scores is None or LABEL not in outputs:
        return None
    values = np.where(np.isfinite(scores), scores, 0.0).astype(np.float64)
    gap = _UNDECIDED * comparison.scale(values)
    if values.shape[-1] == 1:
        return np.abs(values[..., 0]) <= gap
    values = -values if "distances" in outputs else values
    best = np.sort(values, axis=-1)
    apart = best[..., -1] - best[..., -2]
    return np.asarray((apart <= gap) & (far | (apart > 0) | (outputs[LABEL] == values.argmax(axis=-1))))


def _file(source: Estimator, answered: Sequence[_Answered]) -> tuple[bytes, bool]:
    """Return the file, and whether it computes in double precision.

    Raises:
        ConversionError: there is none.
    """
    try:
        single = _made(source, double=False)
        good = _is_good(source, single, answered)
    except ConversionError as err:
        single, good, refusal = b"", False, err
    if source.ties_behind_steps:  # exact in double precision alone
        return _made(source, double=True), True
    if good or source.is_bare:
        if not single:
            raise refusal
        return single, False
    try:
        double = _made(source, double=True)
        if not single or _is_good(source, double, answered):
            return double, True
    except ConversionError:
        if not single:
            raise refusal from None
    return single, False


def _single(source: Estimator) -> bytes:
    """Return the file in single precision of which TFLite files are made.

    Raises:
        ConversionError: there is none.
    """
    if source.columns is not None:
        raise ConversionError("TFLite: a model of named columns becomes an ONNX file alone")
    return _made(source, double=False)


def _made(source: Estimator, *, double: bool) -> bytes:
    proto = estimator_graph.model(source, double=double)
    canonicalize(proto)
    return onnx_session.checked(proto)


def _is_good(source: Estimator, file: bytes, answered: Sequence[_Answered]) -> bool:
    """Tell whether a file computes what the source does but for rounding, on all sample sets."""
    answer = _answers(source, file)
    ordinary: Ordinary | None = None
    for one in answered:
        found = array_files.answers(answer, one.given.arrays)
        if one.moved is None:
            if any(_share(name, array, found[name], one) > _ROUNDING for name, array in one.outputs.items()):
                return False
            noise = {name: float(values.max(initial=0.0)) for name, values in one.noise.items()}
            real = one.given.kind is SetKind.CALIBRATION
            if ordinary is None or real:
                ordinary = Ordinary(one.given.arrays, one.outputs, noise, real=real)
    edge = next((one for one in answered if one.moved is not None), None)
    if edge is None or ordinary is None:
        return True
    runs = EdgeRuns(edge.given.names, edge.given.families, edge.given.arrays, edge.outputs, edge.moved or {})
    found = array_files.answers(answer, edge.given.arrays)
    try:
        edges.judge(_variant(source, file), runs, found, ordinary=ordinary)
    except ParityError:
        return False
    return True


def _share(name: str, expected: Array, found: Array, one: _Answered) -> float:
    if expected.shape != found.shape:
        return np.inf
    if name == LABEL and one.undecided is not None:
        found = np.where(one.undecided, expected, found)
    return comparison.largest_error(expected, found) / comparison.scale(expected)


def _variant(source: Estimator, file: bytes) -> Variant:
    return Variant(
        id=_VARIANT, engine="onnx", precision=Precision.FLOAT32, minimum_engine="", blob=sha256(file),
        inputs=_inputs(source), outputs=_tensors(source.signature.outputs),
    )  # fmt: skip
