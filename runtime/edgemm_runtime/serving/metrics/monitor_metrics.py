"""Prometheus' metrics of what is known of models without labels: the estimated accuracy and its interval."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edgemm.monitoring import EstimateState
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.monitoring.watch import WatchedCounts

_MODEL = ("model", "version", "variant")
_STATES = tuple(state.value for state in EstimateState)


class MonitorCollector(Collector):
    """Reads what the watches counted when it is scraped."""

    def __init__(self, models: ModelRegistry) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """Yield estimates, their states, and counts; nothing where no model is monitored."""
        watched = self._models.watched()
        if not watched:
            return
        accuracy = GaugeMetricFamily(
            "edgemm_estimated_accuracy_ratio",
            "Accuracy of the newest requests, estimated without labels, and the ends of its 95 % interval.",
            labels=(*_MODEL, "bound"),
        )
        state = GaugeMetricFamily(
            "edgemm_estimate_state", "1 for the state of the estimate.", labels=(*_MODEL, "state")
        )
        rows = CounterMetricFamily(
            "edgemm_monitored_rows", "Rows of requests that the committee looked at.", labels=_MODEL
        )
        shed = CounterMetricFamily(
            "edgemm_monitor_shed_requests", "Requests that were to be looked at and were not.", labels=_MODEL
        )
        for one in watched:
            newest = one.newest
            for bound, value in (("estimate", newest.accuracy), ("low", newest.low), ("high", newest.high)):
                if value is not None:
                    accuracy.add_metric((*_labels(one), bound), value)
            for name in _STATES:
                state.add_metric((*_labels(one), name), float(newest.state == name))
            rows.add_metric(_labels(one), one.counts.samples)
            shed.add_metric(_labels(one), one.shed)
        yield from (accuracy, state, rows, shed)


def _labels(one: WatchedCounts) -> tuple[str, str, str]:
    return one.key.name, one.key.version, one.key.variant
