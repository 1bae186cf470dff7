"""Prometheus' `/metrics`: the registry's counters, collected anew for each scrape; nothing is global.

Prometheus' client takes 9 ms to import, and most devices tell their counters by MQTT alone. So this module is imported
when metrics are first asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from edgemm.messages import LATENCY_EDGES_S
from edgemm_runtime.certificates.server_tls import ServerTls
from edgemm_runtime.models.counters import CounterSnapshot
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.metrics.board_metrics import DeviceCollector
from edgemm_runtime.serving.metrics.monitor_metrics import MonitorCollector
from edgemm_runtime.serving.metrics.shadow_metrics import ShadowCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of `exposition`: the version that every scraper reads; later ones are for those that ask for them."""
_LABELS = ("model", "version", "variant")


class ModelCollector(Collector):
    """Reads the counters of a registry when it is scraped."""

    def __init__(self, models: ModelRegistry) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """Yield requests, errors, latency and readiness of each model."""
        snapshots = _newest(self._models.snapshot())
        requests = CounterMetricFamily("edgemm_requests", "Requests that reached the model.", labels=_LABELS)
        errors = CounterMetricFamily("edgemm_errors", "Requests that failed in the engine.", labels=_LABELS)
        hangs = CounterMetricFamily("edgemm_hangs", "Inferences that did not end and were given up.", labels=_LABELS)
        latency = HistogramMetricFamily("edgemm_latency_seconds", "Time spent in the model.", labels=_LABELS)
        for snapshot in snapshots:
            labels = (snapshot.key.name, snapshot.key.version, snapshot.key.variant)
            requests.add_metric(labels, snapshot.requests)
            errors.add_metric(labels, snapshot.errors)
            hangs.add_metric(labels, snapshot.hangs)
            latency.add_metric(labels, _buckets(snapshot), snapshot.latency_sum_s)
        labels_told = CounterMetricFamily(
            "edgemm_feedback", "Late labels, by whether the model agreed.", labels=(*_LABELS, "agreed")
        )
        told: dict[tuple[str, ...], int] = defaultdict(int)
        for counts in self._models.feedback.counts():  # of bundles, of which several may have one version
            of = (counts.key.name, counts.key.version, counts.key.variant)
            told[*of, "true"] += counts.agreed
            told[*of, "false"] += counts.disagreed
        for of_label, count in told.items():
            labels_told.add_metric(of_label, count)
        unmatched = CounterMetricFamily("edgemm_feedback_unmatched", "Labels for which no prediction waited.")
        unmatched.add_metric((), self._models.feedback.unmatched)
        dropped = CounterMetricFamily(
            "edgemm_feedback_dropped", "Predictions that made room for later ones before a label came."
        )
        dropped.add_metric((), self._models.feedback.dropped)
        damaged = CounterMetricFamily(
            "edgemm_feedback_damaged_files", "Files of predictions of which storage damaged a part, which is dropped."
        )
        damaged.add_metric((), self._models.feedback.damaged)
        ready = GaugeMetricFamily("edgemm_ready", "1 when every model has answered a golden sample.")
        ready.add_metric((), float(self._models.ready))
        yield from (
            requests,
            errors,
            hangs,
            latency,
            labels_told,
            unmatched,
            dropped,
            damaged,
            ready,
            *self._sequences(),
        )

    def _sequences(self) -> Iterator[Metric]:
        """Yield what each stateful model has of sequences; what was served before and is not any more has none."""
        running = GaugeMetricFamily("edgemm_sequences_running", "Sequences of a stateful model.", labels=_LABELS)
        begun = CounterMetricFamily("edgemm_sequences_begun", "Sequences that began.", labels=_LABELS)
        idle = CounterMetricFamily("edgemm_sequences_idle", "Sequences that ended because they idled.", labels=_LABELS)
        for served in self._models.active():
            if (found := served.sequences) is not None:
                labels = (served.key.name, served.key.version, served.key.variant)
                running.add_metric(labels, found.running)
                begun.add_metric(labels, found.begun)
                idle.add_metric(labels, found.expired)
        yield from (running, begun, idle)


class AnswerCollector(Collector):
    """Reads the server's counts of answers when it is scraped."""

    def __init__(self, statuses: Callable[[], Mapping[int, int]]) -> None:
        self._statuses = statuses

    def collect(self) -> Iterator[Metric]:
        """Yield how many answers of each status were given."""
        answers = CounterMetricFamily("edgemm_http_responses", "HTTP answers by status.", labels=("status",))
        for status, count in sorted(self._statuses().items()):
            answers.add_metric((str(status),), count)
        yield answers


class CertificateCollector(Collector):
    """Reads the end of the server's certificate when it is scraped."""

    def __init__(self, tls: ServerTls | None) -> None:
        self._tls = tls

    def collect(self) -> Iterator[Metric]:
        """Yield the seconds until the certificate ends, below 0 once it has; nothing where HTTP is plain."""
        if self._tls is not None:
            words = "Seconds until the TLS certificate ends."
            yield GaugeMetricFamily("edgemm_certificate_remaining_seconds", words, value=self._tls.remaining_s)


def exposition(
    models: ModelRegistry,
    statuses: Callable[[], Mapping[int, int]],
    tls: ServerTls | None = None,
    further: Iterable[Callable[[], Any]] = (),
) -> bytes:
    """Return all metrics of one application in the text format `CONTENT_TYPE`, and those of `further` collectors."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ModelCollector(models))
    registry.register(DeviceCollector())
    registry.register(AnswerCollector(statuses))
    registry.register(ShadowCollector(models.shadows))
    registry.register(MonitorCollector(models))
    registry.register(CertificateCollector(tls))
    for make in further:
        registry.register(make())
    return generate_latest(registry)


def _buckets(snapshot: CounterSnapshot) -> list[tuple[str, float]]:
    edges = [*(repr(edge) for edge in LATENCY_EDGES_S), "+Inf"]
    return list(zip(edges, map(float, accumulate(snapshot.latency_counts)), strict=True))


def _newest(snapshots: Iterable[CounterSnapshot]) -> list[CounterSnapshot]:
    """Return one snapshot for each set of labels: two bundles may bear one version; the later one counts."""
    return list({(s.key.name, s.key.version, s.key.variant): s for s in snapshots}.values())
