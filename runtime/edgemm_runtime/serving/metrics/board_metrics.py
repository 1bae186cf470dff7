"""The machine's own gauges in `/metrics`; a gauge that cannot be read here is left out."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edgemm_runtime.board.parsing import Throttle, throttled_now
from edgemm_runtime.board.sysfs import Sysfs


class DeviceCollector(Collector):
    """Reads the kernel's files when it is scraped."""

    def __init__(self, files: Sysfs | None = None) -> None:
        self._files = files or Sysfs()

    def collect(self) -> Iterator[Metric]:
        """Yield temperature, memory, storage wear, and each reason to be throttled as 0 or 1."""
        files = self._files
        life = files.storage_life_used_percent()
        for name, words, value in (
            ("edgemm_device_temperature_celsius", "Highest temperature of a sensor.", files.temperature_c()),
            ("edgemm_device_memory_available_bytes", "Memory without swapping.", files.memory_bytes("MemAvailable")),
            ("edgemm_device_storage_life_used_ratio", "Used life of the eMMC.", None if life is None else life / 100),
        ):
            if value is not None:
                yield GaugeMetricFamily(name, words, value=value)
        bits = files.throttled_bits()
        if bits is not None:
            throttled = GaugeMetricFamily("edgemm_device_throttled", "1 when it holds now.", labels=("reason",))
            for reason in Throttle:
                throttled.add_metric((reason.name.lower(),), float(reason in throttled_now(bits)))
            yield throttled
