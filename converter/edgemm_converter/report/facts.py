"""All that a report is about, as it was measured. Maps go by variant id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgemm.bundle.manifest import Manifest
from edgemm.monitoring import MonitorDocument
from edgemm_converter.children.protocol import LayerFacts, TrialFacts
from edgemm_converter.report.class_answers import ClassAnswers


@dataclass(frozen=True)
class Speed:
    """One variant on this machine, one thread: median time of a run, and the most memory of its process."""

    p50_ms: float
    peak_rss_bytes: int


@dataclass(frozen=True)
class Predecessor:
    """The bundle that this one follows (`--parent`), measured on the same data and machine."""

    manifest: Manifest
    digest: str
    metric: Mapping[str, float] = field(default_factory=dict)
    """On this conversion's evaluation data, where its variants answer them."""

    speeds: Mapping[str, Speed] = field(default_factory=dict)
    unmeasured: str = ""
    """Why there is no metric; "" where there is one, or none was asked for."""


@dataclass(frozen=True)
class Facts:
    """A conversion."""

    manifest: Manifest
    digest: str
    max_drop: float | None = None
    warnings: Sequence[str] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    trials: Sequence[TrialFacts] = ()
    noise: Mapping[str, float] = field(default_factory=dict)
    """By how much rounding alone moves the source, by output; in units of the output."""

    layers: Mapping[str, Sequence[LayerFacts]] = field(default_factory=dict)
    speeds: Mapping[str, Speed] = field(default_factory=dict)
    classes: Sequence[ClassAnswers] = ()
    predecessor: Predecessor | None = None
    machine: str = ""
    monitor: MonitorDocument | None = None
    """By which the model is monitored without labels; None where nobody asked, or it cannot be."""

    unmonitored: str = ""
    """Why there is no such document, or why it shows no accuracy."""
