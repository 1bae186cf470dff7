"""One case of the sweep, and how its answers are judged. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulators.sweep.given import DENORMAL_RUNS

_SMALLEST = 1e-35


@dataclass(frozen=True)
class Case:
    """A function of tensors with a batch in front, and the name of the set of its inputs."""

    call: Callable[..., Any]
    given: str | Sequence[Any] = "x"
    whole: bool = False
    """Errors are relative to the largest value of a run, as those of sums are, instead of to the value itself."""
    jumps: bool = False
    """It is discontinuous or unbounded at 0: denormal runs are judged by finiteness alone."""
    edge: bool = False
    """Its domain ends at 0: denormal runs are not judged, since TensorFlow alone takes a denormal for 0."""
    fixed: bool = False
    """Its batch is fixed at 1: Keras itself cannot build it otherwise."""
    limit: float = 1e-5
    """The largest relative error."""
    floor: float = 1e-6
    """The error that is nothing, whatever the value; 0 where a small value has to have all its digits."""


Table = Mapping[str, Case]


def fault(case: Case, want: Any, got: Any, *, floats: bool) -> str | None:
    """Say what is wrong with the answers of a variant, each of shape [runs, …]; None where nothing is."""
    if want.shape != got.shape:
        return f"shape {got.shape[1:]}, expected {want.shape[1:]}"
    if want.dtype != got.dtype:
        return f"{got.dtype}, expected {want.dtype}"
    if floats and case.edge:
        want, got = want[:-DENORMAL_RUNS], got[:-DENORMAL_RUNS]
    if want.dtype.kind != "f":
        wrong = want != got
        if floats and case.jumps:
            wrong[-DENORMAL_RUNS:] = False
        return _first(want, got, wrong)
    finite = np.isfinite(want)
    kind = ~finite & ~((want == got) | (np.isnan(want) & np.isnan(got)))
    with np.errstate(all="ignore"):
        size = np.where(finite, np.abs(want.astype(np.float64)), 0)
        if case.whole and want.ndim > 1:
            size = np.broadcast_to(size.max(axis=tuple(range(1, want.ndim)), keepdims=True), want.shape)
        off = np.abs(want.astype(np.float64) - got) > case.limit * size + max(case.floor, _SMALLEST)
    off = finite & (off | ~np.isfinite(got))
    if floats and case.jumps:
        off[-DENORMAL_RUNS:] = (finite & ~np.isfinite(got))[-DENORMAL_RUNS:]
        kind[-DENORMAL_RUNS:] = False
    return _first(want, got, off | kind)


def _first(want: Any, got: Any, wrong: Any) -> str | None:
    if not wrong.any():
        return None
    spot = tuple(int(i) for i in np.argwhere(wrong)[0])
    return f"{int(wrong.sum())} of {wrong.size}; at {spot} expected {want[spot]!r}, found {got[spot]!r}"
