"""A shadow's answers, counted beside the active model's: output by output, in classes or in values. Pure.

How two answers are compared is `edgemm_runtime.tensors.comparison`. Beside that, here:

* an output that is not class-like is compared value by value, its errors as a share of the source's range;
* the two models may differ in how many classes they choose from, not in any other dimension;
* strings are values: those that differ are apart by the whole range, and none is above or below another;
* nothing is judged: a NaN on one side alone is one more value in the last bucket.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec
import numpy as np

from edgemm.bundle.manifest import DType, Manifest, Signature, TensorSpec
from edgemm.errors import EngineError
from edgemm_runtime.shadow.agreement import (
    MAX_CLASSES,
    SHADOW_ERROR_EDGES,
    Agreement,
    ClassAgreement,
    ErrorDistribution,
)
from edgemm_runtime.tensors import comparison
from edgemm_runtime.tensors.element_types import OBJECT
from edgemm_runtime.tensors.inputs import describe
from edgemm_runtime.tensors.named_arrays import Array, Arrays


class Kind(StrEnum):
    """How an output is compared."""

    CLASSES = "classes"
    VALUES = "values"


class Comparison(msgspec.Struct, frozen=True):
    """One output: its kind, and the range that errors of its values are a share of, in units of the output."""

    output: str
    kind: Kind
    range: float


def comparisons(manifest: Manifest, golden_outputs: Arrays) -> tuple[Comparison, ...]:
    """Return how each output of a shadow is compared; the range is the source's, as golden samples saw it."""
    return tuple(
        Comparison(
            spec.name,
            Kind.CLASSES if comparison.is_class_like(manifest, spec) else Kind.VALUES,
            _range(manifest, spec.name, golden_outputs[spec.name]),
        )
        for spec in manifest.signature.outputs
    )


def incompatibility(active: Manifest, shadow: Manifest) -> str | None:
    """Return why a shadow cannot answer the active model's requests, or not be compared; None where it can."""
    if active.stateful or shadow.stateful:
        which = "active model" if active.stateful else "shadow"
        return f"the {which} is stateful: its answers depend on requests of which a shadow sees a share"
    return _signatures_differ(active.signature, shadow.signature)


def _signatures_differ(active: Signature, shadow: Signature) -> str | None:
    if _taken(active.inputs) != _taken(shadow.inputs):
        return f"the active model takes {describe(active.inputs)}, the shadow {describe(shadow.inputs)}"
    texts = {spec.name for spec in active.outputs if spec.dtype is DType.STRING}
    ranks = {spec.name: len(spec.shape) for spec in active.outputs}
    if not any(
        ranks.get(spec.name) == len(spec.shape) and (spec.name in texts) == (spec.dtype is DType.STRING)
        for spec in shadow.outputs
    ):
        return f"the active model gives {describe(active.outputs)}, the shadow {describe(shadow.outputs)}"
    return None


def compare(how: tuple[Comparison, ...], active: Arrays, shadow: Arrays) -> dict[str, Agreement]:
    """Compare two answers in every output that both gave.

    Raises:
        EngineError: an output has another shape in the shadow's answer.
    """
    return {c.output: _compare(c, active[c.output], shadow[c.output]) for c in how if c.output in active}


def _compare(how: Comparison, active: Array, shadow: Array) -> Agreement:
    kept = -1 if how.kind is Kind.CLASSES else None
    if active.shape[:kept] != shadow.shape[:kept] or active.ndim != shadow.ndim:
        found = f"{list(active.shape)} from the active model, {list(shadow.shape)} from the shadow"
        raise EngineError(f"output {how.output!r}: expected answers of one shape, found {found}")
    return _classes(active, shadow) if how.kind is Kind.CLASSES else _values(active, shadow, scale=how.range)


def _classes(active: Array, shadow: Array) -> ClassAgreement:
    if not (active.size and shadow.size):
        return ClassAgreement()
    left, right = comparison.classes(active).ravel(), comparison.classes(shadow).ravel()
    same = left == right
    return ClassAgreement(_counted(left[same]), _counted(left[~same]), _counted(right[~same]))


def _counted(classes: Array) -> dict[int, int]:
    counts = np.bincount(np.minimum(classes, MAX_CLASSES))
    return {int(index): int(counts[index]) for index in np.flatnonzero(counts)}


def _values(active: Array, shadow: Array, *, scale: float) -> ErrorDistribution:
    with np.errstate(over="ignore"):
        shares = comparison.errors(active, shadow).ravel() / scale
    buckets = np.searchsorted(SHADOW_ERROR_EDGES, shares)
    counts = np.bincount(buckets, minlength=len(SHADOW_ERROR_EDGES) + 1)
    if OBJECT in (active.dtype, shadow.dtype):  # strings differ, and none is above another
        return ErrorDistribution(tuple(map(int, counts)))
    return ErrorDistribution(tuple(map(int, counts)), int((shadow > active).sum()), int((shadow < active).sum()))


def _range(manifest: Manifest, output: str, golden: Array) -> float:
    ranges = [comparison.spread(golden)]
    ranges += [found.range for parity in manifest.parity for found in parity.outputs if found.name == output]
    return max(ranges) or 1.0


def _taken(specs: tuple[TensorSpec, ...]) -> Mapping[str, tuple[DType, tuple[int, ...]]]:
    """Return what a request has; whether `null` stands for NaN is decided before either sees it."""
    return {spec.name: (spec.dtype, spec.shape) for spec in specs}
