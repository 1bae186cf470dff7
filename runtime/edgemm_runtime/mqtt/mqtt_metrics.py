"""The counts of predictions over MQTT as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from edgemm_runtime.mqtt.owner_line import OwnerLine


class MqttCollector(Collector):
    """Reads the counts of a line when it is scraped."""

    def __init__(self, line: OwnerLine) -> None:
        self._line = line

    def collect(self) -> Iterator[Metric]:
        """Yield what became of messages, and whether the broker is there."""
        messages = CounterMetricFamily("edgemm_mqtt_requests", "Requests over MQTT, by outcome.", labels=("outcome",))
        for outcome, count in self._line.counts().items():
            messages.add_metric((outcome.value,), count)
        connected = GaugeMetricFamily("edgemm_mqtt_connected", "1 while the owner's broker is connected.")
        connected.add_metric((), float(self._line.connected))
        yield from (messages, connected)
