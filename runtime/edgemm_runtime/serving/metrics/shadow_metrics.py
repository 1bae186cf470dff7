"""Prometheus' metrics of the shadows: their state, samples, agreement and errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from edgemm_runtime.shadow.agreement import SHADOW_ERROR_EDGES, ClassAgreement, ErrorDistribution
from edgemm_runtime.shadow.report import label
from edgemm_runtime.shadow.running import RunningShadows, ShadowStatus
from edgemm_runtime.shadow.shadow import ShadowState
from edgemm_runtime.shadow.tally import ShadowCounts

_PAIR = ("model", "version", "variant", "shadow_version", "shadow_variant")


class ShadowCollector(Collector):
    """Reads the counters of the shadows when it is scraped."""

    def __init__(self, shadows: RunningShadows) -> None:
        self._shadows = shadows

    def collect(self) -> Iterator[Metric]:
        """Yield state, samples, agreement by class and errors of values; nothing where no shadow ever ran."""
        statuses, counts = self._shadows.statuses(), _newest(self._shadows.counts())
        if not statuses and not counts:
            return
        yield _running(statuses)
        yield _samples(counts)
        yield _crashes(counts)
        yield _rows(counts, statuses)
        yield _errors(counts)


def _running(statuses: Sequence[ShadowStatus]) -> Metric:
    family = GaugeMetricFamily(
        "edgemm_shadow_running", "1 while a shadow answers.", labels=("model", "shadow_version", "shadow_variant")
    )
    for status in statuses:
        key = status.candidate.key
        family.add_metric((key.name, key.version, key.variant), float(status.state is ShadowState.RUNNING))
    return family


def _samples(counts: Sequence[ShadowCounts]) -> Metric:
    family = CounterMetricFamily(
        "edgemm_shadow_samples", "Requests shown to a shadow, by what came of them.", labels=(*_PAIR, "outcome")
    )
    for one in counts:
        for outcome, count in (("compared", one.compared), ("error", one.errors), ("dropped", one.dropped)):
            family.add_metric((*_pair(one), outcome), count)
    return family


def _crashes(counts: Sequence[ShadowCounts]) -> Metric:
    family = CounterMetricFamily("edgemm_shadow_crashes", "Ends of a shadow's process in a burst.", labels=_PAIR)
    for one in counts:
        family.add_metric(_pair(one), one.crashes)
    return family


def _rows(counts: Sequence[ShadowCounts], statuses: Sequence[ShadowStatus]) -> Metric:
    family = CounterMetricFamily(
        "edgemm_shadow_rows",
        "Rows by class: agreed, or named by the active model or the shadow only.",
        labels=(*_PAIR, "output", "class", "who"),
    )
    labels = {status.candidate.key: status.candidate.manifest.labels for status in statuses}
    for one in counts:
        for output, found in one.agreement.items():
            if isinstance(found, ClassAgreement):
                sides = (("agreed", found.agreed), ("active", found.active_only), ("shadow", found.shadow_only))
                for who, by_class in sides:
                    for index, count in sorted(by_class.items()):
                        name = label(labels.get(one.key.shadow), index)
                        family.add_metric((*_pair(one), output, name, who), count)
    return family


def _errors(counts: Sequence[ShadowCounts]) -> Metric:
    family = HistogramMetricFamily(
        "edgemm_shadow_error_ratio", "Errors of a shadow's values as a share of the range.", labels=(*_PAIR, "output")
    )
    edges = [*(repr(edge) for edge in SHADOW_ERROR_EDGES), "+Inf"]
    for one in counts:
        for output, found in one.agreement.items():
            if isinstance(found, ErrorDistribution):
                buckets = list(zip(edges, map(float, accumulate(found.counts)), strict=True))
                family.add_metric((*_pair(one), output), buckets, sum_value=None)
    return family


def _pair(counts: ShadowCounts) -> tuple[str, ...]:
    active, shadow = counts.key.active, counts.key.shadow
    return active.name, active.version, active.variant, shadow.version, shadow.variant


def _newest(counts: Sequence[ShadowCounts]) -> list[ShadowCounts]:
    """Return one for each set of labels: two bundles may bear one version; the later one counts."""
    return list({_pair(one): one for one in counts}.values())
