"""A device that is there and whose reports are ignored is shown, with the cause in words."""

from __future__ import annotations

from pathlib import Path

from msgspec import convert

from edgemm_fleet.api.messages import DeviceDetail, DeviceSummary
from edgemm_fleet.commands import devices as command
from edgemm_fleet.health.hearing import Hearing
from edgemm_fleet.records.rollout_plan import Group
from simulators.metrics import exposed
from tests.unit.fleet.api.populated import Populated
from tests.unit.fleet.api.servers import serving


def test_it_is_shown_until_it_answers(tmp_path: Path) -> None:
    with serving(tmp_path / "fleet") as served:
        local = Populated(served)
        local.add("cam-1")
        local.run("1.0.0", Group(percent=100))
        device = local.devices["cam-1"]
        local.wait(100)
        device.boot_count = int(local.now) + 86400 * 700
        device.restart()
        local.connect("cam-1")
        local.wait(100)
        device.boot_count = int(local.now)
        device.restart()
        local.deliver(device.connect())
        summary = convert(served.request("GET", "/api/v1/devices").json()["items"][0], DeviceSummary)
        detail = convert(served.request("GET", "/api/v1/devices/cam-1").json(), DeviceDetail)
        assert "not heard: reports_older" in command._row(summary, now=local.now)[1]
        said = dict(command._facts(detail, now=local.now))["NOT HEARD"]
        assert said.startswith(f"reports_older: its start {device.boot_count} reports below the number of one before, ")
        assert said.endswith("it is told anew, and heard as soon as it answers that (0 s ago)")
        hearing = Hearing(counts=local.ingest.counters.snapshot)
        metrics = exposed(local.store, fleet="plant", hearing=hearing)
        assert 'edgemm_fleet_messages_total{result="ignored_reported"} 1.0' in metrics
        local.settle()
        healed = convert(served.request("GET", "/api/v1/devices").json()["items"][0], DeviceSummary)
        assert command._row(healed, now=local.now)[1] == "online"
        local.store.close()
