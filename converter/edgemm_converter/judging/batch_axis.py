"""The batch of a model: which axes of its inputs it is, and whether its rows are answered each for itself.

A device splits and joins requests along the first axis, and runs a file whose batch is 1 row by row. So that axis has
to be the batch of all inputs, and each row's answer its own. Both are seen by running the model: no format tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations

import numpy as np

from edgemm.bundle.manifest import Signature, TensorSpec
from edgemm_converter.data.arrays import Array
from edgemm_runtime.tensors import comparison

Run = Callable[[dict[str, Array]], Mapping[str, Array]]
Axis = tuple[str, int]
"""An input and one of its axes, the second or a later one."""

ROWS = 3
"""How many rows are run together."""
_LENGTHS = (16, 32)
_BATCHES = (3, 2)
_MOST_AXES = 6
_APART = 1e-3
"""From this share of an output's scale on it is another answer; rounding in another order stays far below."""
_NOISES = 100.0
_OTHERS = 0.1
"""From this share of other integers on it is another answer."""


def has_open_batch(spec: TensorSpec) -> bool:
    """Tell whether the first axis is open."""
    return spec.shape[:1] == (-1,)


def open_inside(signature: Signature) -> list[Axis]:
    """Return the open axes of inputs that are not their first."""
    return [(s.name, i) for s in signature.inputs for i, d in enumerate(s.shape) if i and d == -1]


def other_batch_axes(signature: Signature, computes: Callable[[dict[str, Array]], bool]) -> frozenset[Axis]:
    """Return the open axes that are the batch too, such as that of a state [layers, batch, units].

    They have to be as long as the first axis of the other inputs. `computes` tells whether the model takes some values.
    Nothing is returned where it takes lengths of their own, or none of the lengths that are tried.
    """
    inner = open_inside(signature)[:_MOST_AXES]
    if not inner or not any(map(has_open_batch, signature.inputs)):
        return frozenset()
    if any(computes(_values(signature, batch=_BATCHES[0], tied=frozenset(), length=n)) for n in _LENGTHS):
        return frozenset()
    for tied in _choices(inner):
        if all(computes(_values(signature, batch=n, tied=tied, length=_LENGTHS[0])) for n in _BATCHES):
            return tied
    return frozenset()


def fixed_at_one(signature: Signature, tied: frozenset[Axis]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of inputs whose batch, the first axis and those that are `tied` to it, is fixed at 1."""
    return {
        s.name: tuple(1 if d == -1 and (i == 0 or (s.name, i) in tied) else d for i, d in enumerate(s.shape))
        for s in signature.inputs
        if has_open_batch(s) or any(name == s.name for name, _ in tied)
    }


def note(tied: frozenset[Axis], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Say that the batch was fixed, and why."""
    (name, axis), *_ = sorted(tied)
    return (
        f"axis {axis} of input {name!r} is the batch too, and a device joins and splits requests along the first axis "
        f"alone: the batch was fixed at 1 ({fixes(shapes)}); fix another one with --input-shape"
    )


def one_row(variant: str, looped: Iterable[TensorSpec], *, dependent: str) -> str:
    """Say why a file that takes one row at a time cannot stand for a model whose rows have a part in each other."""
    shapes = {spec.name: (1, *spec.shape[1:]) for spec in looped}
    return (
        f"{variant}: output {dependent!r} of several rows together is not that of each row alone, so that the first "
        f"axis of {', '.join(map(repr, shapes))} is no batch, and this file takes one row at a time: fix that axis, "
        f"such as with {fixes(shapes)}, or leave this variant out with --target onnx"
    )


def open_lengths(signature: Signature) -> str:
    """Say what to do about open axes, whose lengths were guessed, where that failed; "" where there are none."""
    names = {name for name, _ in open_inside(signature)}
    if not names:
        return ""
    shapes = {s.name: ["1" if d == -1 and not i else str(d) for i, d in enumerate(s.shape)] for s in signature.inputs}
    asked = " ".join(f"--input-shape {n}={','.join(shapes[n]).replace('-1', 'N')}" for n in sorted(names))
    return f"; its open axes may need other lengths: give them, {asked}, or real inputs with --calibration"


def fixes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return the options that fix shapes."""
    return " ".join(f"--input-shape {name}={','.join(map(str, shape))}" for name, shape in shapes.items())


def dependent_output(
    signature: Signature, run: Run, inputs: Mapping[str, Array], *, moved: Run, known: Mapping[str, Array] | None = None
) -> str:
    """Return the output whose rows depend on one another, "" where each row is answered for itself.

    `inputs` are [runs, …] at batch 1, `known` what was answered to them, and `moved` runs the model on the same values
    one step off, to tell what rounding alone does. An output without an open first axis may not depend on the rows.
    """
    free = {spec.name for spec in signature.inputs if has_open_batch(spec)}
    rows = min(ROWS, len(next(iter(inputs.values()))))
    if not free or rows < 2:
        return ""
    alone = [{name: array[i if name in free else 0, ...] for name, array in inputs.items()} for i in range(rows)]
    joined = {n: np.concatenate([a[n] for a in alone]) if n in free else alone[0][n] for n in inputs}
    together = run(joined)
    answers: list[Mapping[str, Array]]
    again: list[Mapping[str, Array]] = []
    if known is not None and len(free) == len(inputs):
        answers = [{name: array[i, ...] for name, array in known.items()} for i in range(rows)]
    else:
        answers = [run(one) for one in alone]
    for spec in signature.outputs:
        each = [answer[spec.name] for answer in answers]
        if not _apart(each, together[spec.name], joined=has_open_batch(spec)):
            continue
        again = again or [moved(one) for one in alone]
        noise = max(comparison.largest_error(a, b[spec.name]) for a, b in zip(each, again, strict=True))
        if _apart(each, together[spec.name], joined=has_open_batch(spec), noise=noise):
            return spec.name
    return ""


def _apart(each: list[Array], together: Array, *, joined: bool, noise: float = 0.0) -> bool:
    """Tell whether rows together were answered otherwise than alone."""
    if not joined:
        pairs = [(one, together) for one in each]
    elif any(one.ndim == 0 for one in each):
        return True
    else:
        pairs = [(np.concatenate(each), together)]
    if together.dtype.kind != "f":  # rounding turns one class into another, here and there
        return any(one.shape != other.shape or (one != other).mean() > _OTHERS for one, other in pairs if one.size)
    scale = max(comparison.scale(one) for one, _ in pairs) if all(one.size for one, _ in pairs) else 1.0
    allowed = max(_APART * scale, _NOISES * noise)
    return any(comparison.largest_error(one, other) > allowed for one, other in pairs)


def _choices(inner: list[Axis]) -> Iterator[frozenset[Axis]]:
    for count in range(1, len(inner) + 1):
        yield from map(frozenset, combinations(inner, count))


def _values(signature: Signature, *, batch: int, tied: frozenset[Axis], length: int) -> dict[str, Array]:
    """Return one run's inputs, with so many rows and other open axes of one length."""

    def size(spec: TensorSpec, axis: int) -> int:
        dim = spec.shape[axis]
        return dim if dim != -1 else batch if axis == 0 or (spec.name, axis) in tied else length

    rng = np.random.default_rng(0)
    shapes = {s.name: tuple(size(s, i) for i in range(len(s.shape))) for s in signature.inputs}
    return {s.name: _draw(s, shapes[s.name], rng) for s in signature.inputs}


def _draw(spec: TensorSpec, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    dtype = np.dtype(spec.dtype.value)
    values = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
    return np.asarray(values).astype(dtype)
