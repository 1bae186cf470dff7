"""The inputs of the sweep, in every shape that a case asks for. Pure.

They are the edge values of a conversion, and rows in which many sizes stand together. Each array has shape [runs,
*shape of the tensor without its batch]; the last runs are denormal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgemm_converter.data import edge_values
from edgemm_converter.data.arrays import Array
from edgemm_converter.data.edge_values import EdgeTensor

_VALUES = (
    0.0, -0.0, 1e-6, -1e-6, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 1.0, -1.0, 10.0, -10.0, 100.0, -100.0, 1000.0, -1000.0,
    1e-3, -1e-3, 0.1, -0.1, 0.7, -0.7, 0.999999, -0.999999, 2.0, -2.0, 3.0, -3.0, 3.5, -3.5, 5.3, -5.3, 17.25, -17.25,
    31.4, -31.4, 60.0, -60.0, 88.0, -88.0, 90.0, -90.0, 105.5, -105.5, 1e6, -1e6,
)  # fmt: skip
_EDGES = 26
"""So many edge values of a tensor, the most telling ones."""

_DENORMALS = (1e-40, -1e-40, 1e-45, -1e-45, 1.1e-38, -1.1e-38)
DENORMAL_RUNS = 2


def floats(*shape: int, seed: int = 0, low: float = -np.inf, high: float = np.inf) -> Array:
    """Return numbers of many sizes in one row, random ones, and edge values."""
    rng, size = np.random.default_rng(seed), int(np.prod(shape))
    values = np.asarray(_VALUES)
    count = max(-(-len(values) // size), 8 if seed else 1)
    rows: list[Array] = [rng.permutation(np.resize(values, count * size)).reshape(count, size)]
    rows += [rng.normal(size=(2, size)), 30 * rng.normal(size=(1, size))]
    edges = edge_values.of_tensor(EdgeTensor("x", "float32", (size,)), seed=seed).values()
    rows += [e.values[np.newaxis] for e in edges if e.family != edge_values.DENORMALS][:_EDGES]
    rows += [np.resize(rng.permutation(_DENORMALS), (DENORMAL_RUNS, size))]
    values = np.clip(np.concatenate(rows), low, high).reshape(-1, *shape)
    return np.asarray(values, np.float32)


def integers(*shape: int, dtype: str, seed: int = 0, low: int | None = None, high: int | None = None) -> Array:
    """Return the extremes of a type, small numbers of both signs, and random ones, as many runs as `floats`."""
    info, rng = np.iinfo(dtype), np.random.default_rng(seed)
    low, high = info.min if low is None else low, info.max if high is None else high
    some = [low, low + 1, high, high - 1, 0, 1, 2, 7, 60, 61, -1, -2, -7, -60, -61, 128, 200, 1000, -1000, 2**24 + 1]
    values = np.array([v for v in some if low <= v <= high], dtype)
    size, runs = int(np.prod(shape)), 12
    mixed = np.concatenate([values, rng.integers(low, high, 40, dtype=dtype, endpoint=True)])
    return rng.permutation(np.resize(mixed, runs * size)).reshape(runs, *shape)


def booleans(*shape: int, seed: int = 0) -> Array:
    """Return all false, all true, and random ones."""
    random = np.random.default_rng(seed).integers(0, 2, (8, *shape)).astype(bool)
    return np.concatenate([np.zeros((1, *shape), bool), np.ones((1, *shape), bool), random])


def nonfinite(*shape: int, seed: int = 0) -> Array:
    """Return numbers among which some are infinite or none."""
    rng = np.random.default_rng(seed)
    return rng.choice(np.array([np.nan, np.inf, -np.inf, 0, -0.0, 1, -2, 1e30], np.float32), (12, *shape))


def _together(*arrays: Array) -> tuple[Array, ...]:
    runs = min(len(array) for array in arrays)
    return tuple(array[-runs:] for array in arrays)


def _divisors(array: Array) -> Array:
    """Return what integers may be divided by: not 0."""
    return np.where(array == 0, array.dtype.type(3), array)


def _pair(dtype: str) -> tuple[Array, ...]:
    return integers(32, dtype=dtype), integers(32, dtype=dtype, seed=1)


def _division(dtype: str) -> tuple[Array, ...]:
    a, b = _pair(dtype)
    b = _divisors(b)
    small = _divisors(integers(32, dtype=dtype, seed=2, low=max(-61, int(np.iinfo(dtype).min)), high=61))
    least = np.full_like(a[:1], np.iinfo(dtype).min)
    minus_one = np.full_like(a[:1], -1 if np.iinfo(dtype).min else 1)  # no integer of its width holds that quotient
    return np.concatenate([a, a, least]), np.concatenate([b, small, minus_one])


_INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def _regular(n: int, *, symmetric: bool = False) -> Array:
    """Return matrices that have an inverse."""
    rng = np.random.default_rng(7)
    a = rng.normal(size=(8, n, n))
    a = a @ a.transpose(0, 2, 1) + n * np.eye(n) if symmetric else a + 3 * n * np.eye(n)
    return np.asarray(a * np.array([1, 1e-3, 100, 1, 10, 1, 1, 1]).reshape(-1, 1, 1), np.float32)


def _with_nan() -> Array:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(12, 4, 6))
    return np.where(rng.random(rows.shape) < 0.3, np.nan, rows).astype(np.float32)


def _bounded(*shape: int, seed: int = 0, size: int) -> Array:
    return integers(*shape, dtype="int32", seed=seed, low=0, high=size - 1)


SETS: Mapping[str, Sequence[Array]] = {
    "x": (floats(24),),
    "xy": _together(floats(48, seed=3), floats(48, seed=4)),
    "nonfinite": (nonfinite(24),),
    "nonfinite xy": (nonfinite(24), nonfinite(24, seed=1)),
    "rows": (floats(4, 6),),
    "two rows": (floats(4, 6), floats(4, 6, seed=1)),
    "rows of nonfinite": (nonfinite(4, 6),),
    "square": (floats(4, 4),),
    "two squares": (floats(4, 4), floats(4, 4, seed=1)),
    "regular": (_regular(4),),
    "positive definite": (_regular(4, symmetric=True),),
    "regular and right side": (_regular(4), floats(4, 2)[:8]),
    "image": (floats(8, 8, 3),),
    "two images": (floats(16, 16, 3, low=0, high=1), floats(16, 16, 3, seed=1, low=0, high=1)),
    "colours": (floats(8, 8, 3, low=0, high=1),),
    "volume": (floats(6, 6, 6, 2),),
    "sequence": (floats(8, 4),),
    "vectors": (floats(3), floats(3, seed=1)),
    "three": (floats(2, 6, 8), floats(2, 6, 8, seed=1), floats(2, 6, 8, seed=2)),
    "vector": (floats(6),),
    "random rows": (np.random.default_rng(1).normal(size=(8, 4, 6)).astype(np.float32),),
    "with nan": (_with_nan(),),
    "indices and rows": (_bounded(4, size=6), floats(4, 6)[:12]),
    "probabilities": (floats(6, low=0, high=1), floats(6, seed=1, low=0, high=1)),
    "signal rows": (floats(4, 16),),
    "bool": (booleans(24),),
    "bool pair": (booleans(24), booleans(24, seed=1)),
    "bool rows": (booleans(4, 6),),
    "indices": (_bounded(24, size=6),),
    "rows and indices": (floats(4, 6)[:12], 1 + _bounded(3, size=3)),
    "rows of indices": (floats(4, 6)[:12], _bounded(4, 6, size=6)),
    "index": (_bounded(1, size=6),),
    "random image": (np.random.default_rng(2).normal(size=(6, 8, 8, 3)).astype(np.float32),),
    "signal": (floats(64),),
    **{dtype: (integers(32, dtype=dtype),) for dtype in _INTEGERS},
    **{f"{dtype} pair": _pair(dtype) for dtype in _INTEGERS},
    **{f"{dtype} division": _division(dtype) for dtype in _INTEGERS},
    **{f"{dtype} rows": (integers(4, 6, dtype=dtype),) for dtype in ("int32", "int64")},
}
"""By name: one array for each input of a case."""
