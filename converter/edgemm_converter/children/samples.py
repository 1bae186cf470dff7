"""The sample inputs on which a source and its variants are compared. Pure.

They are random from fixed seeds, or the user's own data. Every array here has shape [runs, *concrete shape of the
tensor]: run i of a model takes `array[i]`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from edgemm.bundle.manifest import DType, Signature, TensorSpec
from edgemm_converter.children.protocol import SampleSet, SetKind
from edgemm_converter.data import edge_inputs
from edgemm_converter.data.arrays import Array, rows_together, sample_shape, spread
from edgemm_converter.data.edge_values import EdgeTensor
from edgemm_runtime.tensors.element_types import numpy_dtype

SEEDS = (1, 2, 3)
RUNS_PER_SEED = {1: 4, 4: 1}
"""By batch: as many samples of each."""

MAX_GOLDEN_SAMPLES, MAX_GOLDEN_EDGES = 16, 4
MAX_CALIBRATION_SAMPLES = 512
_IMAGE_SIZE, _SEQUENCE_LENGTH = 32, 16
_EDGE_RUNS, _LEAST_EDGE_RUNS, _EDGE_NUMBERS = 40, 8, 600_000
"""Edge inputs of small models and of large ones, and how many numbers they may have in all."""
_LARGE, _PERIOD = 4096, 2039
"""From how many numbers on a run's random input repeats itself, so that a bundle can hold it, and after how many: a
prime, so that no two lines of an image are alike."""


@dataclass(frozen=True)
class InputSet:
    """Inputs of `runs` runs, of `samples` samples in all."""

    id: str
    kind: SetKind
    arrays: Mapping[str, Array]
    runs: int
    samples: int
    seeds: tuple[int, ...] = field(default=())
    rows: int = 1
    """How many samples a run takes of a user's data, where the batch is fixed; the last run is filled up."""

    names: tuple[str, ...] = field(default=())
    families: tuple[str, ...] = field(default=())

    def of(self, runs: Sequence[int]) -> InputSet:
        """Return some of the runs of a set whose runs have one sample each."""
        return replace(
            self,
            arrays={name: array[list(runs)] for name, array in self.arrays.items()},
            runs=len(runs),
            samples=len(runs),
            names=tuple(self.names[i] for i in runs),
            families=tuple(self.families[i] for i in runs),
        )


def input_sets(
    signature: Signature,
    *,
    calibration: Mapping[str, Array] | None,
    evaluation: Mapping[str, Array] | None,
    by_column: bool = False,
    usual: Mapping[str, Array] | None = None,
) -> tuple[InputSet, ...]:
    """Return all sets of a conversion; the arrays of data are as `arrays.match` returns them.

    With `by_column`, random inputs have in each column values that calibration data have there, as tables need. Where
    there are none, `usual` values stand for them, of named columns: these have no edge inputs of tensors.
    """
    drawn = calibration if calibration is not None else usual
    free = any(spec.shape[:1] == (-1,) for spec in signature.inputs)
    sets = [_random(signature, drawn, batch=batch, by_column=by_column) for batch in (RUNS_PER_SEED if free else (1,))]
    if usual is None:
        sets.append(_edge(signature, calibration))
    if calibration is not None:
        chosen = _taken(calibration, limit=MAX_CALIBRATION_SAMPLES)
        sets.append(_of_data("calibration", SetKind.CALIBRATION, signature, chosen))
    if evaluation is not None:
        sets.append(_of_data("evaluation", SetKind.EVALUATION, signature, evaluation))
    return tuple(sets)


def golden_set(sets: Sequence[SampleSet]) -> SampleSet:
    """Return the set that golden samples are of: the user's data or, without, random ones, a sample a run."""
    by_kind = {given.kind: given for given in reversed(sets)}
    return by_kind.get(SetKind.CALIBRATION, by_kind[SetKind.RANDOM])


def golden_runs(runs: int, *, beside: int = 0) -> npt.NDArray[np.int64]:
    """Return which runs of a set are golden samples, where it has `runs` of them, `beside` so many edge inputs."""
    return spread(runs, limit=MAX_GOLDEN_SAMPLES - beside)


def one_step_off(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return inputs of which each floating-point number is the next one up or down, at random from a fixed seed.

    An input of zeros and ones alone, such as a mask, stays: no rounding makes them something else, and multiplied by
    -1e9 its last bit would decide all that the model answers.
    """
    rng = np.random.default_rng(0)

    def move(array: Array) -> Array:
        if array.dtype.kind != "f" or bool(((array == 0) | (array == 1)).all()):
            return array
        limits = np.where(rng.random(array.shape) < 0.5, -np.inf, np.inf).astype(array.dtype)
        moved: Array = np.nextafter(array, limits)
        return moved

    return {name: move(array) for name, array in inputs.items()}


def _random(signature: Signature, calibration: Mapping[str, Array] | None, *, batch: int, by_column: bool) -> InputSet:
    each, draw = RUNS_PER_SEED[batch], _draw_columns if by_column and calibration is not None else _draw
    arrays = {
        spec.name: np.concatenate(
            [
                draw(spec, np.random.default_rng([seed, batch, position]), runs=each, batch=batch, data=data)
                for seed in SEEDS
            ]
        )
        for position, (spec, data) in enumerate(_with_data(signature, calibration))
    }
    runs = each * len(SEEDS)
    return InputSet(f"random-{batch}", SetKind.RANDOM, arrays, runs, runs * batch, SEEDS)


def _edge(signature: Signature, calibration: Mapping[str, Array] | None) -> InputSet:
    tensors = [
        EdgeTensor(spec.name, spec.dtype.value, _concrete(spec, batch=1, data=data), data)
        for spec, data in _with_data(signature, calibration)
    ]
    numbers = sum(math.prod(tensor.shape) for tensor in tensors)
    limit = min(_EDGE_RUNS, max(_LEAST_EDGE_RUNS, _EDGE_NUMBERS // max(numbers, 1)))
    found = edge_inputs.of_inputs(tensors, limit=limit)
    return InputSet(
        "edge", SetKind.EDGE, {t.name: np.stack([given.arrays[t.name] for given in found]) for t in tensors},
        len(found), len(found), names=tuple(given.name for given in found),
        families=tuple(given.family for given in found),
    )  # fmt: skip


def _of_data(set_id: str, kind: SetKind, signature: Signature, data: Mapping[str, Array]) -> InputSet:
    count = len(next(iter(data.values())))
    rows = rows_together(signature.inputs[0], data[signature.inputs[0].name])
    if rows is not None:
        some = np.arange(-(-count // rows) * rows) % count  # the last run is filled up with the first samples
        together = {name: array[some].reshape(-1, rows, *array.shape[1:]) for name, array in data.items()}
        return InputSet(set_id, kind, together, len(some) // rows, count, rows=rows)
    arrays = {
        spec.name: data[spec.name][:, np.newaxis] if spec.shape[:1] == (-1,) else data[spec.name]
        for spec in signature.inputs
    }
    return InputSet(set_id, kind, arrays, count, count)


def _taken(data: Mapping[str, Array], *, limit: int) -> dict[str, Array]:
    return {name: array[spread(len(array), limit=limit)] for name, array in data.items()}


def _with_data(signature: Signature, data: Mapping[str, Array] | None) -> Sequence[tuple[TensorSpec, Array | None]]:
    return [(spec, data[spec.name] if data is not None else None) for spec in signature.inputs]


def _draw(spec: TensorSpec, rng: np.random.Generator, *, runs: int, batch: int, data: Array | None) -> Array:
    """Return random values: over the range of `data` where it is given, else what a model usually takes."""
    shape = (runs, *_concrete(spec, batch=batch, data=data))
    dtype = np.dtype(spec.dtype.value)
    data = data if data is None or data.size else None  # an input of no width has no range
    if spec.dtype is DType.BOOL:
        return rng.integers(0, 2, shape).astype(bool)
    drawn = (runs, _PERIOD) if math.prod(shape[1:]) > _LARGE else shape
    if dtype.kind == "f":
        values = rng.standard_normal(drawn) if data is None else rng.uniform(data.min(), data.max(), drawn)
        return _repeated(values.astype(dtype), shape)
    low, high = _integer_range(dtype) if data is None else (int(data.min()), int(data.max()))
    return _repeated(rng.integers(low, high, drawn, dtype=dtype, endpoint=True), shape)


def _draw_columns(spec: TensorSpec, rng: np.random.Generator, *, runs: int, batch: int, data: Array | None) -> Array:
    """Return rows [runs, batch, columns] of which each column has some of its own values in `data`."""
    assert data is not None
    some = rng.integers(0, len(data), (runs * batch, *data.shape[1:]))
    values: Array = np.take_along_axis(data, some, axis=0).reshape(runs, batch, *data.shape[1:])
    return values.astype(numpy_dtype(spec.dtype))


def _repeated(values: Array, shape: tuple[int, ...]) -> Array:
    """Return runs of the given shape, each filled with its own values over and over."""
    if values.shape == shape:
        return values
    made: Array = np.stack([np.resize(run, shape[1:]) for run in values])
    return made


def _integer_range(dtype: np.dtype[np.generic]) -> tuple[int, int]:
    """Return bytes for pixels, and otherwise small numbers, which are valid as indices of an embedding."""
    if dtype.itemsize == 1:
        info = np.iinfo(dtype.name)
        return int(info.min), int(info.max)
    return 0, 3


def _concrete(spec: TensorSpec, *, batch: int, data: Array | None) -> tuple[int, ...]:
    free = spec.shape[:1] == (-1,)
    inner = sample_shape(spec)
    if data is not None:
        rows = rows_together(spec, data)
        inner = data.shape[1:] if rows is None else (rows, *data.shape[1:])
    else:
        usual = _IMAGE_SIZE if len(spec.shape) >= 4 else _SEQUENCE_LENGTH
        inner = tuple(usual if d == -1 else d for d in inner)
    return (batch, *inner) if free else inner
