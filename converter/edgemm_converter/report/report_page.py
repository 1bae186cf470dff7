"""The HTML report of a conversion (`--report`), one file that needs no script and no network; and its data. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from edgemm import figures
from edgemm.bundle.column_figures import ColumnParity
from edgemm.bundle.manifest import Drop, Manifest, OutputParity, Precision, Statistic
from edgemm.outlet import escaping
from edgemm_converter.children.protocol import LayerFacts
from edgemm_converter.judging.search import SLACK
from edgemm_converter.report import ranking
from edgemm_converter.report.facts import Facts, Speed
from edgemm_converter.report.ranking import Candidate
from edgemm_converter.report.scatter import Measure, Scatter, scatter

DATA_FORMAT = "edgemm-report/1"

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
class VariantRow:
    """One variant in the table."""

    id: str
    why: str
    float_layers: Sequence[str]
    size: int
    share: float
    metric: float | None
    drop: Drop | None
    worst: OutputParity | None
    limit: float | None
    speed: Speed | None


@dataclass(frozen=True)
class ChangeRow:
    """One variant beside the one of the same name in the bundle before, if that had it: size, metric, median time."""

    id: str
    size: int
    size_before: int | None
    metric: float | None
    metric_before: float | None
    p50_ms: float | None
    p50_ms_before: float | None


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
class ColumnRow:
    """Columns of one output of one variant, on one set of inputs."""

    variant: str
    data: str
    output: str
    columns: str
    figures: ColumnParity
    share: float
    """The mean error, as a share of the source's deviation there."""


@dataclass(frozen=True)
class Chart:
    """The layers of one variant, and the first at which it parts from float."""

    variant: str
    layers: Sequence[LayerFacts]
    largest: float
    first: LayerFacts | None
    guilty: LayerFacts | None

    def width(self, layer: LayerFacts) -> float:
        """Return how long the bar of a layer is, in per cent of the longest; an error that is infinite fills it."""
        return 100.0 * min(1.0, layer.error / self.largest) if math.isfinite(layer.error) else 100.0


def _plain(value: object) -> object:
    """Return text of others without what would hide in it or turn it around; markup of ours stays."""
    return escaping.printable(value) if type(value) is str else value


def page(facts: Facts) -> str:
    """Return the page."""
    environment = Environment(
        loader=PackageLoader("edgemm_converter"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_plain,
    )  # fmt: skip
    environment.filters |= {
        "bytes": _bytes, "anchor": anchor, "figure": _figure, "score": figures.score, "share": _share,
    }  # fmt: skip
    return environment.get_template("report.html").render(
        facts=facts,
        manifest=facts.manifest,
        rows=rows(facts),
        changes=changes(facts),
        chart=size_and_metric(facts),
        comparisons=comparisons(facts),
        columns=columns(facts),
        charts=charts(facts),
        named=partial(_class_name, facts.manifest.labels),
        parted=PARTED,
        slack=SLACK,
        budget=_budget(facts),
    )


def data(facts: Facts) -> bytes:
    """Return what the page says, as JSON; a number that is none is null."""
    shown = {
        "format": DATA_FORMAT,
        "name": facts.manifest.name,
        "version": facts.manifest.version,
        "created": facts.manifest.created,
        "digest": facts.digest,
        "parent": facts.manifest.lineage.parent,
        "machine": facts.machine,
        "warnings": facts.warnings,
        "variants": rows(facts),
        "evaluation": facts.manifest.evaluation,
        "labels": facts.manifest.labels,
        "classes": facts.classes,
        "changes": changes(facts),
        "comparisons": comparisons(facts),
        "columns": columns(facts),
        "layers": facts.layers,
        "trials": facts.trials,
        "left_out": facts.left_out,
        "monitoring": _monitoring(facts),
        "lineage": facts.manifest.lineage,
    }
    return msgspec.json.format(msgspec.json.encode(shown), indent=2) + b"\n"


def _monitoring(facts: Facts) -> dict[str, object] | None:
    """Return what is known of monitoring without labels, None where nobody asked for it."""
    if facts.monitor is None:
        return {"supported": False, "reason": facts.unmonitored} if facts.unmonitored else None
    found = facts.monitor
    return {
        "supported": found.supported,
        "reason": found.reason,
        "modality": found.view.modality,
        "clean_accuracy": found.clean_accuracy,
        "committee_accuracy": found.committee_accuracy,
        "map": found.maps.chosen,
        "trial": found.trial,
    }


def rows(facts: Facts) -> list[VariantRow]:
    """Return one row for each variant in the order in which a device should take them; shares are of the largest."""
    manifest, scored = facts.manifest, facts.manifest.evaluation
    largest = max(manifest.blobs[v.blob].size for v in manifest.variants)
    found = {
        variant.id: VariantRow(
            id=variant.id,
            why=_WHY.get(variant.precision, ""),
            float_layers=variant.float_layers or (),
            size=(size := manifest.blobs[variant.blob].size),
            share=size / largest,
            metric=scored.variants.get(variant.id) if scored else None,
            drop=scored.drops.get(variant.id) if scored else None,
            worst=_worst(manifest, variant.id),
            limit=max((p.limit for p in manifest.parity if p.variant == variant.id and p.limit), default=None),
            speed=facts.speeds.get(variant.id),
        )
        for variant in manifest.variants
    }
    order = ranking.ranked(map(_candidate, found.values()), budget=_budget(facts))
    return [found[variant_id] for variant_id in order]


def _budget(facts: Facts) -> float:
    """Return the drop that is taken for none; of an error, whose unit is the data's, a share of the source's."""
    scored = facts.manifest.evaluation
    if facts.max_drop is not None:
        return facts.max_drop
    return ranking.BUDGET * (scored.source if scored is not None and scored.metric in ("mse", "mae") else 1.0)


def changes(facts: Facts) -> list[ChangeRow]:
    """Return each variant beside the one of the same name in the bundle that this one follows."""
    if (before := facts.predecessor) is None:
        return []
    sizes = {v.id: before.manifest.blobs[v.blob].size for v in before.manifest.variants}
    return [
        ChangeRow(
            id=row.id,
            size=row.size,
            size_before=sizes.get(row.id),
            metric=row.metric,
            metric_before=before.metric.get(row.id),
            p50_ms=row.speed.p50_ms if row.speed else None,
            p50_ms_before=before.speeds[row.id].p50_ms if row.id in before.speeds else None,
        )
        for row in rows(facts)
    ]


def size_and_metric(facts: Facts) -> Scatter | None:
    """Return the chart of the variants' sizes against their metric, with those of the bundle before."""
    if (scored := facts.manifest.evaluation) is None:
        return None
    measures = [Measure(row.id, row.size, row.metric) for row in rows(facts) if row.metric is not None]
    if (before := facts.predecessor) is not None:
        named = f"{before.manifest.version} "
        measures += [
            Measure(named + v.id, before.manifest.blobs[v.blob].size, before.metric[v.id], earlier=True)
            for v in before.manifest.variants
            if v.id in before.metric
        ]
    return scatter(measures, source=scored.source)


def anchor(name: str) -> str:
    """Return a name as part of a page's address."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _class_name(labels: Sequence[str] | None, index: int) -> str:
    return labels[index] if labels is not None and index < len(labels) else str(index)


def _candidate(row: VariantRow) -> Candidate:
    return Candidate(
        id=row.id,
        size=row.size,
        p50_ms=row.speed.p50_ms if row.speed else None,
        drop=row.drop.value if row.drop else None,
    )


def _figure(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


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


def columns(facts: Facts) -> list[ColumnRow]:
    """Return the columns that were judged each by its own deviation."""
    return [
        ColumnRow(
            variant=parity.variant,
            data=parity.data,
            output=output.name,
            columns=str(found.start) if found.stop == found.start + 1 else f"{found.start} to {found.stop - 1}",
            figures=found,
            share=found.mean_abs / (found.deviation or 1.0),
        )
        for parity in facts.manifest.parity
        for output in parity.outputs
        for found in output.columns or ()
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
        largest=max((layer.error for layer in layers if math.isfinite(layer.error)), default=0.0) or 1.0,
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


def _share(value: float, places: int = 1) -> str:
    """Return a share with a space before the sign, as this page has them."""
    return figures.share(value, places=places).replace("%", " %")


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
