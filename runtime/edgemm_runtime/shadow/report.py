"""The report on a shadow's agreement: the answer to `GET /shadow`, and one line for the log. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct

from edgemm_runtime.shadow.agreement import (
    MAX_CLASSES,
    SHADOW_ERROR_EDGES,
    Agreement,
    ClassAgreement,
    ErrorDistribution,
)
from edgemm_runtime.shadow.running import ShadowStatus
from edgemm_runtime.shadow.shadow import ShadowState
from edgemm_runtime.shadow.tally import ShadowCounts

OTHER = "other"
"""The label of all classes from `MAX_CLASSES` on."""


class ClassLine(Struct, frozen=True):
    """One class: rows for which the active model named it, the shadow did, and both did."""

    label: str
    active: int
    shadow: int
    agreed: int


class ClassReport(Struct, frozen=True, tag="classes", tag_field="kind"):
    """A class-like output: the share of rows on which both named one class, and that by class."""

    rows: int
    agreement: float | None
    classes: list[ClassLine]


class Bucket(Struct, frozen=True):
    """Values whose error is at most `le` (null: any) and above the bucket before."""

    le: float | None
    count: int


class ErrorReport(Struct, frozen=True, tag="values", tag_field="kind"):
    """Any other output: errors as a share of `range`, which is in units of the output.

    `p50` and `p99` are upper bounds (null: above the last edge, or no value yet); `above` and `below` count values of
    the shadow that are larger and smaller.
    """

    values: int
    range: float
    p50: float | None
    p99: float | None
    above: int
    below: int
    errors: list[Bucket]


OutputReport: TypeAlias = ClassReport | ErrorReport


class ShadowedVersion(Struct, frozen=True):
    """One version of a model in one variant."""

    version: str
    variant: str
    digest: str


class PairReport(Struct, frozen=True):
    """What a shadow did beside one version of the active model."""

    active: ShadowedVersion
    sampled: int
    compared: int
    errors: int
    dropped: int
    crashes: int
    outputs: dict[str, OutputReport]


class ShadowReport(Struct, frozen=True):
    """One shadow, with every version that it ran beside since the process started."""

    model: str
    shadow: ShadowedVersion
    share: float
    state: ShadowState
    reason: str
    beside: list[PairReport]


class ShadowReports(Struct, frozen=True):
    """The answer to `GET /shadow`."""

    shadows: list[ShadowReport]


def report(statuses: Iterable[ShadowStatus], counts: Sequence[ShadowCounts]) -> ShadowReports:
    """Describe the shadows that run now."""
    return ShadowReports([_shadow(status, counts) for status in statuses])


def one_line(report: ShadowReport) -> str:
    """Return a shadow's result in words."""
    who = f"{report.model} {report.shadow.version} ({report.shadow.variant})"
    return "; ".join([f"shadow {who}: {report.state}", *(_words(pair) for pair in report.beside)])


def label(labels: Sequence[str] | None, index: int) -> str:
    """Return what a class is called: its label, or its index."""
    if index >= MAX_CLASSES:
        return OTHER
    return labels[index] if labels and index < len(labels) else str(index)


def _shadow(status: ShadowStatus, counts: Sequence[ShadowCounts]) -> ShadowReport:
    candidate = status.candidate
    key = candidate.key
    return ShadowReport(
        model=key.name,
        shadow=ShadowedVersion(key.version, key.variant, key.digest),
        share=candidate.share,
        state=status.state,
        reason=status.reason,
        beside=[_pair(c, candidate.manifest.labels, status.ranges) for c in counts if c.key.shadow == key],
    )


def _pair(counts: ShadowCounts, labels: Sequence[str] | None, ranges: Mapping[str, float]) -> PairReport:
    active = counts.key.active
    return PairReport(
        active=ShadowedVersion(active.version, active.variant, active.digest),
        sampled=counts.sampled,
        compared=counts.compared,
        errors=counts.errors,
        dropped=counts.dropped,
        crashes=counts.crashes,
        outputs={name: _output(found, labels, scale=ranges.get(name, 1.0)) for name, found in counts.agreement.items()},
    )


def _output(found: Agreement, labels: Sequence[str] | None, *, scale: float) -> OutputReport:
    if isinstance(found, ClassAgreement):
        return ClassReport(found.rows, found.agreement, [_class(found, labels, index) for index in found.classes])
    return _errors(found, scale=scale)


def _class(found: ClassAgreement, labels: Sequence[str] | None, index: int) -> ClassLine:
    agreed = found.agreed.get(index, 0)
    return ClassLine(
        label(labels, index),
        active=agreed + found.active_only.get(index, 0),
        shadow=agreed + found.shadow_only.get(index, 0),
        agreed=agreed,
    )


def _errors(found: ErrorDistribution, *, scale: float) -> ErrorReport:
    edges = (*SHADOW_ERROR_EDGES, None)
    return ErrorReport(
        values=found.values,
        range=scale,
        p50=_finite(found.quantile(0.5)),
        p99=_finite(found.quantile(0.99)),
        above=found.above,
        below=found.below,
        errors=[Bucket(edge, count) for edge, count in zip(edges, found.counts, strict=True)],
    )


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value


def _words(pair: PairReport) -> str:
    parts = [f"beside {pair.active.version} ({pair.active.variant}) {pair.compared} of {pair.sampled} compared"]
    for name, output in pair.outputs.items():
        if isinstance(output, ClassReport):
            parts.append(f"{name}: {output.agreement or 0:.2%} of {output.rows} agree")
        else:
            bound = f"{output.p99:.2g}" if output.p99 is not None else f"over {SHADOW_ERROR_EDGES[-1]:g}"
            parts.append(f"{name}: 99 % of errors up to {bound} of the range")
    return ", ".join(parts)
