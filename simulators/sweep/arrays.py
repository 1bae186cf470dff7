"""The functions of `keras.ops` that join, take apart, order, reduce or make arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from simulators.sweep.case import Case, Table

_REDUCTIONS = (
    "mean", "sum", "std", "var", "max", "min", "amax", "amin", "prod", "median", "logsumexp", "nansum", "nanmean",
    "nanmax", "nanmin", "nanprod", "nanstd", "nanvar", "ptp", "norm",
)  # fmt: skip
_ORDERS = (
    "argmax", "argmin", "argsort", "sort", "all", "any", "count_nonzero", "nanargmax", "nanargmin",
)  # fmt: skip
_SEGMENTS = np.array([0, 0, 1, 2], np.int32)
_RUNNING = ("cumsum", "cumprod", "nancumsum", "nancumprod")
_WHOLE = ("flip", "ravel", "transpose", "average")


def _along(name: str, axis: int | tuple[int, ...] = -1, *more: Any, **options: Any) -> Callable[[Any], Any]:
    """Return a function of `keras.ops` along an axis."""
    function = getattr(ops, name)
    return lambda x: function(x, *more, axis=axis, **options)


REDUCTIONS: Table = {
    **{name: Case(_along(name, -1), "rows", whole=True) for name in _REDUCTIONS},
    **{
        f"{n}: all": Case(_along(n, (1, 2)), "rows", whole=True)
        for n in ("mean", "sum", "std", "var", "max", "min", "prod", "logsumexp")
    },
    **{n: Case(_along(n, -1), "rows", jumps=True) for n in _ORDERS},
    **{f"{n}: axes": Case(_along(n, (1, 2)), "rows", jumps=True) for n in ("all", "any")},
    **{n: Case(_along(n, 1), "rows", whole=True) for n in _RUNNING},
    **{
        f"{n}: nan": Case(_along(n, -1), "with nan", whole=True)
        for n in (
            "nansum",
            "nanmean",
            "nanmax",
            "nanmin",
            "nanprod",
            "nanstd",
            "nanvar",
            "nancumsum",
            "nancumprod",
            "mean",
            "nanargmax",
            "nanargmin",
        )
    },
    **{
        f"{n}: {d}": Case(_along(n, -1), f"{d} rows")
        for n in ("sum", "prod", "max", "min", "argmax", "argmin", "sort", "argsort", "cumsum", "any", "all")
        for d in ("int32", "int64")
    },
    **{f"{n}: bool": Case(_along(n, -1), "bool rows") for n in ("any", "all", "sum", "count_nonzero", "argmax")},
    **{
        f"{n}: {m}": Case(_along(n, -1, q, method=m), "rows", whole=True)
        for n, q in (("percentile", 30.0), ("quantile", 0.3))
        for m in ("linear", "lower", "nearest", "midpoint")
    },
    "average: weights": Case(
        lambda x: ops.average(x[0], axis=-1, weights=[1.0, 2, 3, 4, 5, 6])[None], "rows", whole=True
    ),
    "norm: 1": Case(lambda x: ops.norm(x, ord=1, axis=-1), "rows", whole=True),
    "norm: inf": Case(lambda x: ops.norm(x, ord=np.inf, axis=-1), "rows", whole=True),
    "norm: fro": Case(lambda x: ops.norm(x, ord="fro", axis=(1, 2)), "rows", whole=True),
    "moments": Case(lambda x: ops.stack(ops.moments(x, axes=[-1])), "rows", whole=True),
    "argmax: flat": Case(lambda x: ops.argmax(ops.reshape(x, (-1, 24)), axis=1), "rows", jumps=True),
    "argpartition": Case(lambda x: ops.take(x[0], ops.argpartition(x[0], 2)[2:3])[None], "vector"),
    "top_k": Case(lambda x: ops.top_k(x, 3)[0], "rows"),
    "top_k: indices": Case(lambda x: ops.top_k(x, 3)[1], "rows", jumps=True),
    "in_top_k": Case(
        lambda i, x: ops.in_top_k(i[0], ops.concatenate([x[0]] * 1), 2)[None], "indices and rows", jumps=True
    ),
    "trapezoid": Case(lambda x: ops.trapezoid(x, dx=0.5), "rows", whole=True),
    "allclose": Case(lambda x: ops.allclose(x[0], x[0] + 1e-9)[None], "random rows"),
    "diff": Case(lambda x: ops.diff(x, axis=-1), "rows", whole=True),
    "unique": Case(lambda x: ops.unique(x[0], size=6)[None], "int32"),
    "bincount": Case(lambda x: ops.bincount(x, minlength=6), "indices"),
    "histogram": Case(lambda x: ops.histogram(x[0], bins=4, range=(-10, 10))[0][None], "vector"),
    "segment_sum": Case(lambda x: ops.segment_sum(x[0], _SEGMENTS, 3)[None], "rows", whole=True),
    "segment_max": Case(lambda x: ops.segment_max(x[0], _SEGMENTS, 3)[None], "rows"),
    "segment_min": Case(lambda x: ops.segment_min(x[0], _SEGMENTS, 3)[None], "rows"),
    "segment_prod": Case(lambda x: ops.segment_prod(x[0], _SEGMENTS, 3)[None], "rows", whole=True),
    "scan": Case(lambda x: ops.scan(lambda c, a: (c + a, c * 2), ops.zeros(6), x[0])[1][None], "rows", whole=True),
    "map": Case(lambda x: ops.map(lambda a: a * 2, x), "rows"),
    "vectorized_map": Case(lambda x: ops.vectorized_map(lambda a: a * 2, x), "rows"),
    "fori_loop": Case(lambda x: ops.fori_loop(0, 3, lambda _, a: a * 0.5 + 1, x), "rows", whole=True),
    "while_loop": Case(lambda x: ops.while_loop(lambda a: ops.max(a) > 1, lambda a: (a / 2,), (x,))[0], "rows"),
    "cond": Case(lambda x: ops.cond(ops.max(x) > 1, lambda: x * 2, lambda: -x), "rows"),
    "switch": Case(lambda x: ops.switch(ops.cast(ops.max(x) > 1, "int32"), [lambda a: a * 2, lambda a: -a], x), "rows"),
}

MOVES: Table = {
    "append": Case(lambda x: ops.append(x, x, axis=-1), "rows"),
    "array_split": Case(lambda x: ops.array_split(x, 4, axis=-1)[0], "rows"),
    "broadcast_to": Case(lambda x: ops.broadcast_to(x[:, :, None], (1, 4, 2, 6)), "rows"),
    "concatenate": Case(lambda x: ops.concatenate([x, -x], axis=1), "rows"),
    "cast": Case(lambda x: ops.cast(x, "float32"), "rows"),
    "diag": Case(lambda x: ops.diag(x[0])[None], "square"),
    "diag: of vector": Case(lambda x: ops.diag(x[0], k=1)[None], "vector"),
    "diagflat": Case(lambda x: ops.diagflat(x[0])[None], "vector"),
    "diagonal": Case(lambda x: ops.diagonal(x, axis1=1, axis2=2), "square"),
    "diagonal: offset": Case(lambda x: ops.diagonal(x, offset=1, axis1=1, axis2=2), "rows"),
    "dsplit": Case(lambda x: ops.dsplit(x, 2)[1], "rows"),
    "dstack": Case(lambda x: ops.dstack([x, x]), "rows"),
    "hsplit": Case(lambda x: ops.hsplit(x, 2)[1], "rows"),
    "hstack": Case(lambda x: ops.hstack([x, x]), "rows"),
    "vsplit": Case(lambda x: ops.vsplit(x[0], 2)[1][None], "rows"),
    "vstack": Case(lambda x: ops.vstack([x[0], x[0]])[None], "rows"),
    "expand_dims": Case(lambda x: ops.expand_dims(x, 1), "rows"),
    "flip": Case(lambda x: ops.flip(x, axis=-1), "rows"),
    "fliplr": Case(ops.fliplr, "rows"),
    "flipud": Case(lambda x: ops.flipud(x[0])[None], "rows"),
    "get_item": Case(lambda x: ops.get_item(x, (slice(None), slice(1, 3))), "rows"),
    "moveaxis": Case(lambda x: ops.moveaxis(x, 1, 2), "rows"),
    "pad": Case(lambda x: ops.pad(x, [[0, 0], [1, 2], [0, 1]], constant_values=3.0), "rows"),
    "pad: reflect": Case(lambda x: ops.pad(x, [[0, 0], [1, 2], [0, 1]], "reflect"), "rows"),
    "pad: symmetric": Case(lambda x: ops.pad(x, [[0, 0], [1, 2], [0, 1]], "symmetric"), "rows"),
    "ravel": Case(lambda x: ops.ravel(x[0])[None], "rows"),
    "rearrange": Case(lambda x: ops.rearrange(x, "b h w -> b w h"), "rows"),
    "repeat": Case(lambda x: ops.repeat(x, 3, axis=1), "rows"),
    "repeat: each": Case(lambda x: ops.repeat(x, [1, 0, 2, 1], axis=1), "rows"),
    "reshape": Case(lambda x: ops.reshape(x, (-1, 6, 4)), "rows"),
    "roll": Case(lambda x: ops.roll(x, 2, axis=1), "rows"),
    "rot90": Case(lambda x: ops.rot90(x, axes=(1, 2)), "rows"),
    "slice": Case(lambda x: ops.slice(x, (0, 1, 2), (1, 2, 3)), "rows"),
    "slice_update": Case(lambda x: ops.slice_update(x, (0, 1, 2), ops.ones((1, 2, 3))), "rows"),
    "scatter": Case(lambda x: ops.scatter([[1], [3]], x[0, :2], (5, 6))[None], "rows"),
    "scatter_update": Case(lambda x: ops.scatter_update(x, [[0, 1], [0, 3]], x[0, :2] * 2), "rows"),
    "split": Case(lambda x: ops.split(x, 2, axis=1)[1], "rows"),
    "squeeze": Case(lambda x: ops.squeeze(x[:, None], axis=1), "rows"),
    "stack": Case(lambda x: ops.stack([x, -x], axis=1), "rows"),
    "swapaxes": Case(lambda x: ops.swapaxes(x, 1, 2), "rows"),
    "take": Case(lambda x: ops.take(x, [1, -1, 0], axis=1), "rows"),
    "take: by input": Case(lambda x, i: ops.take(x[0], i[0] - 1, axis=0)[None], "rows and indices"),
    "take_along_axis": Case(lambda x, i: ops.take_along_axis(x, i, axis=-1), "rows of indices"),
    "tile": Case(lambda x: ops.tile(x, (1, 2, 3)), "rows"),
    "trace": Case(lambda x: ops.trace(x, axis1=1, axis2=2), "square", whole=True),
    "transpose": Case(lambda x: ops.transpose(x, (0, 2, 1)), "rows"),
    "tril": Case(ops.tril, "rows"),
    "triu": Case(lambda x: ops.triu(x, k=1), "rows"),
    "unstack": Case(lambda x: ops.unstack(x, axis=1)[1], "rows"),
    "unravel_index": Case(lambda x: ops.stack(ops.unravel_index(x[0], (2, 3)), axis=-1)[None], "indices"),
    "vander": Case(lambda x: ops.vander(x[0], 3)[None], "vector", whole=True),
    "view_as_real": Case(lambda x: ops.view_as_real(ops.cast(x, "complex64")), "rows"),
    "view_as_complex": Case(lambda x: ops.imag(ops.view_as_complex(ops.reshape(x, (-1, 4, 3, 2)))), "rows"),
    "meshgrid": Case(lambda x: ops.meshgrid(x[0], x[0])[0][None], "vector"),
    "nonzero": Case(lambda x: ops.sum(ops.nonzero(x[0])[0])[None], "vector", jumps=True),
    "full_like": Case(lambda x: ops.full_like(x, 2.0), "rows"),
    "empty_like": Case(lambda x: ops.empty_like(x) * 0, "rows"),
    "one_hot": Case(lambda x: ops.one_hot(x, 6), "indices"),
    "multi_hot": Case(lambda x: ops.multi_hot(x, 6), "indices"),
    "extract_sequences": Case(lambda x: ops.extract_sequences(x, 16, 8), "signal"),
    "shape": Case(lambda x: x + ops.cast(ops.shape(x)[1], "float32"), "rows"),
    "size": Case(lambda x: x + ops.cast(ops.size(x[0]), "float32"), "rows"),
    "ndim": Case(lambda x: x + ops.cast(ops.ndim(x), "float32"), "rows"),
    "dtype": Case(lambda x: ops.cast(x, ops.dtype(x)), "rows"),
    "is_tensor": Case(lambda x: x * (2.0 if ops.is_tensor(x) else 1.0), "rows"),
    "convert_to_tensor": Case(lambda x: x + ops.convert_to_tensor(np.ones(6, np.float32)), "rows"),
}

_MADE = {
    "arange": lambda: ops.arange(6, dtype="float32"), "array": lambda: ops.array([1.0, 2, 3, 4, 5, 6]),
    "blackman": lambda: ops.blackman(6), "eye": lambda: ops.eye(4, 6),
    "full": lambda: ops.full((6,), 2.5), "hamming": lambda: ops.hamming(6), "hanning": lambda: ops.hanning(6),
    "kaiser": lambda: ops.kaiser(6, 5.0), "identity": lambda: ops.identity(6)[:4], "ones": lambda: ops.ones((6,)),
    "zeros": lambda: ops.zeros((6,)), "linspace": lambda: ops.linspace(0.0, 1.0, 6),
    "logspace": lambda: ops.logspace(0.0, 1.0, 6), "geomspace": lambda: ops.geomspace(1.0, 9.0, 6),
    "tri": lambda: ops.tri(4, 6), "empty": lambda: ops.empty((6,)) * 0,
}  # fmt: skip
MADE: Table = {name: Case(lambda x, make=make: x + make(), "rows", whole=True) for name, make in _MADE.items()}
