"""What the kernel's files say of the machine: parsed as documented, and left out where they say nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from edgemm_runtime.agent.reporting import gauges
from edgemm_runtime.board import parsing
from edgemm_runtime.board.parsing import Throttle
from edgemm_runtime.board.sysfs import Sysfs
from edgemm_runtime.serving.metrics.board_metrics import DeviceCollector

PI = {
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
    "sys/class/thermal/thermal_zone0/temp": "61280\n",
    "sys/class/hwmon/hwmon0/name": "cpu_thermal\n",
    "sys/class/hwmon/hwmon0/temp1_input": "62300\n",
    "sys/class/hwmon/hwmon1/name": "rpi_volt\n",
    "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0\n",
    "sys/block/mmcblk0/device/life_time": "0x02 0x04\n",
    "proc/meminfo": "MemTotal:        3884292 kB\nMemAvailable:    3000000 kB\n",
    "proc/cpuinfo": "processor\t: 0\nCPU part\t: 0xd0b\n",
    "proc/self/statm": "1000 500 300 1 0 200 0\n",
    "proc/self/mounts": "/dev/mmcblk0p2 / ext4 ro,noatime 0 0\n/dev/mmcblk0p3 /var/lib/edgemm ext4 rw 0 0\n",
}


@pytest.fixture
def pi(tmp_path: Path) -> Sysfs:
    for name, text in PI.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Sysfs(tmp_path)


def test_a_pi_tells_everything(pi: Sysfs, tmp_path: Path) -> None:
    found = gauges.gauges(tmp_path, files=pi)
    assert (found.temperature_c, found.throttled_bits, found.storage_life_used_percent) == (62.3, 0x50005, 40)
    assert found.memory_available_bytes == 3_000_000 * 1024
    assert pi.cpu_model() == "Cortex-A76"
    assert (pi.read_only(Path("/etc")), pi.read_only(Path("/var/lib/edgemm/blobs"))) == (True, False)


def test_a_machine_that_tells_nothing_has_no_gauges(tmp_path: Path) -> None:
    found = gauges.gauges(tmp_path, files=Sysfs(tmp_path / "empty"))
    assert found.temperature_c is found.throttled_bits is found.storage_life_used_percent is None
    assert found.memory_available_bytes is found.rss_bytes is None
    assert found.disk_free_bytes is not None


def test_the_bits_have_names_now_and_since_boot() -> None:
    bits = parsing.throttled_bits("50005")
    assert bits is not None
    assert parsing.throttled_now(bits) == (Throttle.UNDERVOLTAGE, Throttle.THROTTLED)
    assert parsing.throttled_since_boot(bits) == (Throttle.UNDERVOLTAGE, Throttle.THROTTLED)
    assert Throttle.SOFT_TEMPERATURE_LIMIT.words == "soft temperature limit"


@pytest.mark.parametrize("text", [None, "", "nonsense", "-1", "1ffffffff"])
def test_nonsense_is_no_reason_to_be_throttled(text: str | None) -> None:
    assert parsing.throttled_bits(text) is None


@pytest.mark.parametrize(
    ("bits", "alarm", "found"), [(None, "1", 1), (None, "0", 0), (4, "1", 5), (5, None, 5), (None, "?", None)]
)
def test_the_watcher_of_the_supply_adds_undervoltage(bits: int | None, alarm: str | None, found: int | None) -> None:
    assert parsing.with_alarm(bits, alarm) == found


@pytest.mark.parametrize(
    ("text", "percent"), [("0x01 0x01", 10), ("0x0b 0x02", 110), ("0x00 0x00", None), ("0x0c", None), ("x", None)]
)
def test_the_more_worn_kind_of_memory_counts(text: str, percent: int | None) -> None:
    assert parsing.life_used_percent(text) == percent


def test_a_scrape_tells_reasons_and_leaves_out_what_is_not_there(pi: Sysfs, tmp_path: Path) -> None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(DeviceCollector(pi))
    text = generate_latest(registry).decode()
    assert 'edgemm_device_throttled{reason="undervoltage"} 1.0' in text
    assert 'edgemm_device_throttled{reason="frequency_capped"} 0.0' in text
    assert "edgemm_device_storage_life_used_ratio 0.4" in text
    bare = CollectorRegistry(auto_describe=False)
    bare.register(DeviceCollector(Sysfs(tmp_path / "empty")))
    assert generate_latest(bare) == b""
