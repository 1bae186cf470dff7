"""The HTML report of a conversion (`--report`): one file that needs no script and no network. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from edgemm.bundle.manifest import Drop, Manifest, OutputParity, Precision, Statistic
from edgemm_converter.children.protocol import LayerFacts, TrialFacts
from edgemm_converter.judging.search import SLACK

PARTED = 0.01
"""From this error on, as a share of a layer's spread, a variant is said to part from float."""
_MAX_LAYERS = 60
_WHY: Mapping[Precision, str] = {
    Precision.FLOAT32: "as the source computes",
    Precision.FLOAT16: "weights in half precision, arithmetic in float32",
    Precision.INT8: "weights and arithmetic in 8-bit integers, ranges from the calibration data",
    Precision.INT8_DYNAMIC: "8-bit weights; activations become integers as they come",
    Precision.INT16X8: "8-bit weights, 16-bit activations, ranges from the calibration data",
    Precision.MIXED: "8-bit integers, except for the layers that lose most by it",
    Precision.INT8_WEIGHTS: "8-bit weights, arithmetic in float32",
    Precision.INT4_WEIGHTS: "4-bit weights, arithmetic in float32",
}


@dataclass(frozen=True)
class Speed:
    """One variant on this machine, one thread: median time of a run, and the most memory of its process."""

    p50_ms: float
    peak_rss_bytes: int


@dataclass(frozen=True)
class Facts:
    """All that a report is about; maps go by variant id."""

    manifest: Manifest
    digest: str
    max_drop: float | None = None
    warnings: Sequence[str] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    trials: Sequence[TrialFacts] = ()
    float_layers: Sequence[str] = ()
    noise: Mapping[str, float] = field(default_factory=dict)
    """By how much rounding alone moves the source, by output; in units of the output."""

    layers: Mapping[str, Sequence[LayerFacts]] = field(default_factory=dict)
    speeds: Mapping[str, Speed] = field(default_factory=dict)
    machine: str = ""


@dataclass(frozen=True)
class VariantRow:
    """One variant in the table."""

    id: str
    why: str
    size: int
    share: float
    metric: float | None
    drop: Drop | None
    worst: OutputParity | None
    limit: float | None
    speed: Speed | None


@dataclass(frozen=True)
class ParityRow:
    """One output of one variant on one set of inputs, and what it was judged by."""

    variant: str
    data: str
    samples: int
    output: OutputParity
    judged: float
    limit: float | None
    statistic: Statistic
    noise: float | None
    """The largest error, in multiples of what rounding alone does to the source; None where that is nothing."""


@dataclass(frozen=True)
class Chart:
    """The layers of one variant, and the first at which it parts from float."""

    variant: str
    layers: Sequence[LayerFacts]
    largest: float
    first: LayerFacts | None
    guilty: LayerFacts | None


def page(facts: Facts) -> str:
    """Return the page."""
    environment = Environment(
        loader=PackageLoader("edgemm_converter"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["bytes"] = _bytes
    return environment.get_template("report.html").render(
        facts=facts,
        manifest=facts.manifest,
        rows=rows(facts),
        comparisons=comparisons(facts),
        charts=charts(facts),
        parted=PARTED,
        slack=SLACK,
    )


def rows(facts: Facts) -> list[VariantRow]:
    """Return one row for each variant; shares are of the largest file."""
    manifest = facts.manifest
    largest = max(manifest.blobs[v.blob].size for v in manifest.variants)
    return [
        VariantRow(
            id=variant.id,
            why=_WHY[variant.precision],
            size=(size := manifest.blobs[variant.blob].size),
            share=size / largest,
            metric=manifest.evaluation.variants[variant.id] if manifest.evaluation else None,
            drop=manifest.evaluation.drops.get(variant.id) if manifest.evaluation else None,
            worst=_worst(manifest, variant.id),
            limit=max((p.limit for p in manifest.parity if p.variant == variant.id and p.limit), default=None),
            speed=facts.speeds.get(variant.id),
        )
        for variant in manifest.variants
    ]


def comparisons(facts: Facts) -> list[ParityRow]:
    """Return what was compared with the source, output by output."""
    return [
        ParityRow(
            variant=parity.variant,
            data=parity.data,
            samples=parity.samples,
            output=output,
            judged=(output.max_abs if parity.statistic is Statistic.MAX else output.mean_abs) / (output.range or 1.0),
            limit=parity.limit,
            statistic=parity.statistic,
            noise=output.max_abs / noise if (noise := facts.noise.get(output.name, 0.0)) else None,
        )
        for parity in facts.manifest.parity
        for output in parity.outputs
    ]


def charts(facts: Facts) -> list[Chart]:
    """Return one chart for each variant whose layers were compared."""
    return [charted(variant, layers) for variant, layers in facts.layers.items() if layers]


def charted(variant: str, given: Sequence[LayerFacts]) -> Chart:
    """Return the chart of one variant's layers, of which there is at least one."""
    layers = _shortened(given)
    return Chart(
        variant=variant,
        layers=layers[:_MAX_LAYERS],
        largest=max(layer.error for layer in layers) or 1.0,
        first=next((layer for layer in layers if layer.error > PARTED), None),
        guilty=max(layers, key=lambda layer: layer.own) if any(layer.own > 0 for layer in layers) else None,
    )


def _shortened(layers: Sequence[LayerFacts]) -> list[LayerFacts]:
    """Leave out the model's own name where all layers but the output begin with it."""
    names = [layer.name for layer in layers if not layer.name.startswith("output ")]
    first = names[0].partition("/")[0] + "/" if names else ""
    if len(names) < 2 or not all(name.startswith(first) for name in names):
        return list(layers)
    return [msgspec.structs.replace(layer, name=layer.name.removeprefix(first)) for layer in layers]


def _worst(manifest: Manifest, variant: str) -> OutputParity | None:
    judged = [o for p in manifest.parity if p.variant == variant and p.limit is not None for o in p.outputs]
    return max(judged, key=lambda o: o.relative, default=None)


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
