"""The comparison of two answers to one request: by class or by value, output by output. Pure.

An output is class-like where its golden samples are held to a share of equal arg-max, or where its last dimension has
one value for each of the bundle's labels; every other output is compared value by value.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec
import numpy as np

from edgemm.bundle.manifest import Manifest, Signature, TensorSpec
from edgemm.errors import EngineError
from edgemm_runtime.engines.inputs import describe
from edgemm_runtime.engines.interface import Array, Arrays
from edgemm_runtime.shadow.agreement import (
    MAX_CLASSES,
    SHADOW_ERROR_EDGES,
    Agreement,
    ClassAgreement,
    ErrorDistribution,
)


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
            Kind.CLASSES if is_class_like(manifest, spec) else Kind.VALUES,
            _range(manifest, spec.name, golden_outputs[spec.name]),
        )
        for spec in manifest.signature.outputs
    )


def is_class_like(manifest: Manifest, spec: TensorSpec) -> bool:
    """Tell whether the largest value along an output's last dimension names a class."""
    if len(spec.shape) < 2 or spec.shape[-1] == 1:
        return False
    tolerances = [by_output.get(spec.name) for by_output in manifest.golden.tolerance.values()]
    judged = any(t is not None and t.min_argmax_agreement is not None for t in tolerances)
    return judged or (manifest.labels is not None and spec.shape[-1] == len(manifest.labels))


def incompatibility(active: Signature, shadow: Signature) -> str | None:
    """Return why a shadow cannot answer the active model's requests, or not be compared; None where it can."""
    if _by_name(active.inputs) != _by_name(shadow.inputs):
        return f"the active model takes {describe(active.inputs)}, the shadow {describe(shadow.inputs)}"
    ranks = {spec.name: len(spec.shape) for spec in active.outputs}
    if not any(ranks.get(spec.name) == len(spec.shape) for spec in shadow.outputs):
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
    left, right = active.argmax(axis=-1).ravel(), shadow.argmax(axis=-1).ravel()
    same = left == right
    return ClassAgreement(_counted(left[same]), _counted(left[~same]), _counted(right[~same]))


def _counted(classes: Array) -> dict[int, int]:
    counts = np.bincount(np.minimum(classes, MAX_CLASSES))
    return {int(index): int(counts[index]) for index in np.flatnonzero(counts)}


def _values(active: Array, shadow: Array, *, scale: float) -> ErrorDistribution:
    left, right = active.astype(np.float64).ravel(), shadow.astype(np.float64).ravel()
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    with np.errstate(invalid="ignore", over="ignore"):
        errors = np.where(same, 0.0, np.abs(right - left) / scale)
    buckets = np.searchsorted(SHADOW_ERROR_EDGES, np.nan_to_num(errors, nan=np.inf, posinf=np.inf))
    counts = np.bincount(buckets, minlength=len(SHADOW_ERROR_EDGES) + 1)
    return ErrorDistribution(tuple(map(int, counts)), int((right > left).sum()), int((right < left).sum()))


def _range(manifest: Manifest, output: str, golden: Array) -> float:
    finite = golden.astype(np.float64)[np.isfinite(golden)]
    ranges = [float(np.ptp(finite)) if finite.size else 0.0]
    ranges += [found.range for parity in manifest.parity for found in parity.outputs if found.name == output]
    return max(ranges) or 1.0


def _by_name(specs: tuple[TensorSpec, ...]) -> Mapping[str, TensorSpec]:
    return {spec.name: spec for spec in specs}
