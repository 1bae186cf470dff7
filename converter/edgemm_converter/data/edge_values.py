"""Values at which functions go wrong: the edge inputs of a model. Pure.

Random numbers near 0 and integers of 0 to 3 reach few of the places at which an engine's formula overflows, divides 0
by 0 or rounds another way. These values do: zeros, 1e-6 to 1000 and their negatives, halves, denormals, the extremes of
integers, padding and mask values, constants, one feature at a time. Where there are real data, they are in the unit of
each column, and the ends and the middle of the data are among them.

They are the same at every call. `edge_inputs` puts those of a model's inputs together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgemm_converter.data.arrays import Array

ZEROS, DENORMALS, EXTREMES, USUAL = "zeros", "denormals", "extremes", "usual"
LARGEST = "1000"
"""The family of the largest size."""

_SIZES = (1000, 1e-6, 100, 10, 1)
"""From the most telling to the least: a budget cuts off the end."""

_USUAL_LARGEST = 3.0
"""About the largest of standard normal values: what is counted as one unit of real data is their largest by this."""

_MASK = -1
_WHOLE, _COLUMNS_AFTER = 3, 10
"""Of real data, so many values are of the whole tensor; those of one column come after so many other values."""


@dataclass(frozen=True)
class EdgeTensor:
    """A tensor that takes edge values: its dtype by NumPy's name, and the concrete shape of one run.

    `data` are real values [samples, …]; `domain` is the least and the largest value that it may take, both included,
    as of class indices.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: Array | None = None
    domain: tuple[int, int] | None = None


@dataclass(frozen=True)
class EdgeValue:
    """Values of one tensor, in its shape, and of which `family` they are: values of one family are of one size."""

    name: str
    family: str
    values: Array


def of_tensor(tensor: EdgeTensor, *, seed: int = 0) -> dict[str, EdgeValue]:
    """Return the edge values of a tensor by name, the most telling first; no two are equal.

    `seed` is for those that are mixed at random.
    """
    found, seen = dict[str, EdgeValue](), set[bytes]()
    with np.errstate(over="ignore"):
        values = list(_values(tensor, np.random.default_rng(seed)))
    for value in values:
        if (key := value.values.tobytes()) not in seen and _may_be(value.values, tensor.domain):
            seen.add(key)
            found.setdefault(value.name, value)
    return found


def _may_be(values: Array, domain: tuple[int, int] | None) -> bool:
    """Tell whether values are numbers, which a small dtype may not hold, of the domain of their tensor."""
    if not values.size or values.dtype.kind == "b":
        return True
    inside = domain is None or (domain[0] <= values.min() and values.max() <= domain[1])
    return bool(inside and np.isfinite(values).all())


def _values(tensor: EdgeTensor, rng: np.random.Generator) -> Iterator[EdgeValue]:
    dtype = np.dtype(tensor.dtype)
    yield EdgeValue("all zeros", ZEROS, np.zeros(tensor.shape, dtype))
    real = list(_of_data(tensor, tensor.data)) if tensor.data is not None and dtype.kind in "iuf" else []
    yield from real[:_WHOLE]
    others = list({"b": _truths, "f": _floats}.get(dtype.kind, _integers)(tensor, rng))
    yield from others[:_COLUMNS_AFTER]
    yield from real[_WHOLE:]
    yield from others[_COLUMNS_AFTER:]


def _of_data(tensor: EdgeTensor, data: Array) -> Iterator[EdgeValue]:
    """Yield the ends and the middle of real data by column, then one column at an end while others are in the middle.

    Each is within the range of the data.
    """
    dtype, shape = np.dtype(tensor.dtype), tensor.shape
    low, high = _by_column(data, np.min), _by_column(data, np.max)
    middle = np.broadcast_to(_by_column(data, np.mean).astype(dtype), shape).copy()
    yield EdgeValue("all at the least of the data", USUAL, np.broadcast_to(low, shape).astype(dtype))
    yield EdgeValue("all at the largest of the data", USUAL, np.broadcast_to(high, shape).astype(dtype))
    yield EdgeValue("all at the mean of the data", USUAL, middle)
    for column in _places(shape[-1:], count=4) if shape else ():
        for word, end in (("largest", high), ("least", low)):
            values = middle.copy()
            values[..., column] = end[column] if end.ndim else end
            yield EdgeValue(f"column {column} at the {word} of the data", USUAL, values)


def _by_column(data: Array, function: Callable[..., Array]) -> Array:
    axes = tuple(range(data.ndim - 1)) if data.ndim > 1 else None
    return np.asarray(function(data, axis=axes))


def _floats(tensor: EdgeTensor, rng: np.random.Generator) -> Iterator[EdgeValue]:
    dtype, shape, unit = np.dtype(tensor.dtype), tensor.shape, _unit(tensor)
    scaled = " times the data's scale" if tensor.data is not None else ""

    def value(name: str, family: str, numbers: Array | float, *, by: Array | float = unit) -> EdgeValue:
        return EdgeValue(name, family, np.broadcast_to(np.multiply(numbers, by), shape).astype(dtype))

    def at(size: float) -> list[EdgeValue]:
        words, family = f"{size:g}{scaled}", f"{size:g}"
        return [
            value(f"±{words}", family, size * _signs(rng, shape)),
            value(f"all at {words}", family, size),
            value(f"all at -{words}", family, -size),
            value(f"one feature at {words}", family, _one(shape, size, index=0)),
        ]

    sizes = [at(size) for size in _SIZES]
    yield sizes[0][0]
    yield sizes[0][3]
    yield value("halves", "10", np.floor(rng.uniform(-8, 8, shape)) + 0.5, by=1.0)
    yield sizes[1][0]
    yield sizes[2][1]
    yield from sizes[0][1:3]
    tiny, least = np.finfo(dtype).tiny, np.finfo(dtype).smallest_subnormal
    denormal = np.where(rng.random(shape) < 0.5, tiny / 2, least * 3) * _signs(rng, shape)
    yield EdgeValue("denormals", DENORMALS, np.asarray(denormal).astype(dtype))
    yield value("padding: zeros in the second half", USUAL, _padded(rng.standard_normal(shape), 0))
    mixed = [rng.choice([1e-6, 0.5, 1, 10, 100, 1000], shape) * _signs(rng, shape) for _ in range(3)]
    yield value(f"sizes mixed{scaled}, 1", "1000", mixed[0])
    for of_size in sizes[2:4]:
        yield from of_size
    yield value(f"mask: {_MASK} in the second half", USUAL, _padded(rng.standard_normal(shape), _MASK / unit))
    yield value("all at 0.5", "1", 0.5, by=1.0)
    for of_size in (*sizes[4:], sizes[1]):
        yield from of_size
    for index in _places(shape, count=8):
        for size in (-1000, 10):
            words = f"{size:g}{scaled}"
            yield value(f"feature {index} at {words}", f"{abs(size):g}", _one(shape, size, index=index))
    for turn, numbers in enumerate(mixed[1:], start=2):
        yield value(f"sizes mixed{scaled}, {turn}", "1000", numbers)


def _unit(tensor: EdgeTensor) -> Array:
    """Return what counts as 1: the scale of each column of real data, which is 1 for standard normal values."""
    if tensor.data is None or not tensor.data.size:
        return np.ones(())
    largest = _by_column(np.abs(tensor.data.astype(np.float64)), np.max)
    overall = float(largest.max()) or _USUAL_LARGEST
    return np.where(largest > 0, largest, overall) / _USUAL_LARGEST


def _integers(tensor: EdgeTensor, rng: np.random.Generator) -> Iterator[EdgeValue]:
    dtype, shape = np.dtype(tensor.dtype), tensor.shape
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)

    def among(least: int, most: int) -> Array:
        return rng.integers(max(low, least), min(high, most), shape, dtype=dtype, endpoint=True)

    def all_at(number: int) -> Array:
        return np.full(shape, number, dtype)

    bottom, top = tensor.domain or (0, 3)
    if tensor.domain is not None:
        for number in (top, bottom):
            yield EdgeValue(f"all at {number}", str(abs(number)), all_at(number))
        yield EdgeValue(f"integers from {bottom} to {top}", USUAL, among(bottom, top))
    for size in (size for size in (100, 10, 1000) if size <= high):
        if low < 0:
            yield EdgeValue(f"integers from -{size} to {size}", str(size), among(-size, size))
        yield EdgeValue(f"integers from 0 to {size - 1}", str(size), among(0, size - 1))
    far = EXTREMES if dtype.itemsize > 1 else "100"
    yield EdgeValue(f"all at the largest {dtype}", far, all_at(high))
    yield EdgeValue(f"all at the least {dtype}", far, all_at(low))
    padded = _padded(among(bottom, top), bottom)
    yield EdgeValue(f"padding: {bottom} in the second half", USUAL, padded)
    if low < 0:
        yield EdgeValue(f"mask: {_MASK} in the second half", USUAL, _padded(among(bottom, top), _MASK))
        # Without the least: dividing it by -1 ends a process on x86.
        extremes = np.array([low + 1, high, -1, 0, 1], dtype)
        yield EdgeValue(f"extremes of {dtype}", far, np.asarray(rng.choice(extremes, shape)))
    for number in (n for n in (1, -1, 2, 3, 10, -10, 100, -100, 1000, -1000) if low <= n <= high):
        yield EdgeValue(f"all at {number}", str(abs(number)), all_at(number))
    for index in _places(shape, count=4):
        for number in (n for n in (100, -100) if low <= n <= high):
            yield EdgeValue(f"feature {index} at {number}", "100", _one(shape, number, index=index).astype(dtype))


def _truths(tensor: EdgeTensor, rng: np.random.Generator) -> Iterator[EdgeValue]:
    shape = tensor.shape
    yield EdgeValue("all true", USUAL, np.ones(shape, bool))
    yield EdgeValue("padding: false in the second half", USUAL, _padded(np.ones(shape, bool), 0))
    yield EdgeValue("one true", USUAL, _one(shape, 1, index=0).astype(bool))
    yield EdgeValue("mixed", USUAL, np.asarray(rng.random(shape) < 0.5))


def usual(tensor: EdgeTensor, *, seed: int) -> Array:
    """Return values as a tensor usually has: a sample of its data; without, normal ones or small integers."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(tensor.dtype)
    if tensor.data is not None and len(tensor.data):
        one = tensor.data[int(rng.integers(len(tensor.data)))]
        return np.broadcast_to(one, tensor.shape).astype(dtype)
    if dtype.kind == "f":
        return np.asarray(rng.standard_normal(tensor.shape)).astype(dtype)
    low, high = (0, 1) if dtype.kind == "b" else tensor.domain or (0, 3)
    return np.asarray(rng.integers(low, high, tensor.shape, endpoint=True)).astype(dtype)


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    return np.where(rng.random(shape) < 0.5, -1.0, 1.0)


def _places(shape: tuple[int, ...], *, count: int) -> list[int]:
    size = int(np.prod(shape))
    return sorted({round(i) for i in np.linspace(0, size - 1, min(count, size))}) if size else []


def _one(shape: tuple[int, ...], number: float, *, index: int) -> Array:
    values = np.zeros(shape)
    if values.size:
        values.flat[index] = number
    return values


def _padded(values: Array, filling: Array | float) -> Array:
    """Return values of which the second half is filled: of the steps of a sequence, of rows or of features."""
    padded = np.array(values)
    axis = max(padded.ndim - 2, 0) if padded.ndim and max(padded.ndim - 2, 0) and padded.shape[-2] > 1 else -1
    if padded.ndim:
        index: list[slice] = [slice(None)] * padded.ndim
        index[axis] = slice(padded.shape[axis] // 2, None)
        padded[tuple(index)] = np.broadcast_to(filling, padded.shape)[tuple(index)]
    return padded
