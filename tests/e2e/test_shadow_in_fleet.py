"""A shadow that the fleet asks for: over Mosquitto to a real device, and what it found back to the fleet's API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from simulators.process_table import children
from simulators.waiting import eventually
from tests.e2e.fleets import Device, Fleet, X

pytestmark = [pytest.mark.runtime, pytest.mark.fleet, pytest.mark.slow, pytest.mark.service]
OFTEN = ("--telemetry-interval", "1s")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, mosquitto: Path) -> Iterator[tuple[Fleet, Device]]:
    """A device that runs version 1.0.0 of a fleet over Mosquitto; 2.0.0 works, 3.0.0's weights are scrambled."""
    with Fleet(tmp_path_factory.mktemp("shadows")) as fleet:
        fleet.up_over_mosquitto(mosquitto)
        token = fleet.token()
        device = Device(fleet, "pi").start(token=token, options=OFTEN)
        eventually(device.online, "it is online")
        for version in ("1.0.0", "2.0.0"):
            fleet.publish(version)
        fleet.publish("3.0.0", scramble=True)
        fleet.rollout("1.0.0", "--group", "100%")
        yield fleet, device


def _shadow(fleet: Fleet) -> dict[str, Any]:
    [found] = fleet.api("/models/tiny/shadows")["items"]
    return dict(found)


def _phase(fleet: Fleet) -> str:
    told = _shadow(fleet)["reported"]
    return "" if told is None else str(told["phase"])


def _beside(device: Device) -> list[Any]:
    return list(urllib3.request("GET", f"{device.address}/shadow").json()["shadows"])


def test_what_it_found_arrives_at_the_fleet_and_it_ends_when_it_is_unwanted(served: tuple[Fleet, Device]) -> None:
    fleet, device = served
    assert fleet.json("shadow", "set", "tiny", "2.0.0", "--share", "1")["devices"] == [device.id]
    eventually(lambda: _phase(fleet) == "running", "the device reports that it runs")

    def arrived() -> bool:
        assert device.version() == "1.0.0"
        return any(pair["counters"]["compared"] > 0 for pair in _shadow(fleet)["beside"])

    eventually(arrived, "agreement is at the API")
    [pair] = _shadow(fleet)["beside"]
    counters, [local] = pair["counters"], _beside(device)
    assert counters["digest"] == _shadow(fleet)["wanted"]["digest"] == local["shadow"]["digest"]
    [output] = counters["outputs"]
    assert (output["rows"] or sum(output["errors"])) > 0
    assert "2.0.0" in fleet.ok("shadow", "show", "tiny")
    assert "shadow 2.0.0 running" in fleet.ok("devices", "show", device.id)

    fleet.ok("shadow", "clear", "tiny")
    eventually(lambda: _beside(device) == [], "the device ended it")
    assert fleet.api("/models/tiny/shadows")["items"] == []


def test_one_that_cannot_run_is_reported_and_the_active_model_serves(served: tuple[Fleet, Device]) -> None:
    fleet, device = served
    fleet.ok("shadow", "set", "tiny", "3.0.0", "--device", device.id)
    eventually(lambda: _phase(fleet) == "failed", "its failure is reported")
    told = _shadow(fleet)["reported"]
    assert told["reason"] == "not_running"
    assert "golden sample" in told["detail"]
    assert device.version() == "1.0.0"
    fleet.ok("shadow", "clear", "tiny")


def test_late_labels_are_counted_in_the_fleet(served: tuple[Fleet, Device]) -> None:
    fleet, device = served
    infer = {"id": "a", "inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": X[0]}]}
    assert urllib3.request("POST", f"{device.address}/v2/models/tiny/infer", json=infer).status == 200
    for request_id, status in (("a", 200), ("never", 404)):
        label = {"id": request_id, "label": 0, "model": "tiny"}
        assert urllib3.request("POST", f"{device.address}/v2/feedback", json=label).status == status

    def counted() -> bool:
        window = fleet.api(f"/devices/{device.id}/telemetry?limit=1")["items"][0]
        [labels] = [m["labels"] for m in window["models"] if m["labels"]] or [{"matched": 0}]
        return bool(labels["matched"] == 1 and window["unmatched_labels"] == 1)

    eventually(counted, "both labels are counted")


def test_an_update_to_the_shadows_version_ends_the_shadow(served: tuple[Fleet, Device]) -> None:
    fleet, device = served
    fleet.ok("shadow", "set", "tiny", "2.0.0")
    eventually(lambda: _phase(fleet) == "running", "it runs")
    rollout = fleet.rollout("2.0.0", "--group", "100%")
    assert device.version() == "2.0.0"
    eventually(lambda: _beside(device) == [], "nothing runs beside itself")
    fleet.ok("shadow", "clear", "tiny")
    fleet.ok("rollout", "rollback", rollout, "--wait")
    assert device.version() == "1.0.0"


def test_a_stopped_device_leaves_no_shadow_and_a_started_one_has_it_at_hand(served: tuple[Fleet, Device]) -> None:
    fleet, device = served
    fleet.ok("shadow", "set", "tiny", "2.0.0")
    eventually(lambda: _phase(fleet) == "running", "it runs")
    [pid] = _shadow_processes(device.program.pid)
    assert device.program.terminate().status == 0
    assert not Path(f"/proc/{pid}").exists()
    device.start(options=OFTEN).wait_until_ready()
    eventually(lambda: [one["state"] for one in _beside(device)] == ["running"], "it runs again")
    assert "downloading blob" not in device.program.text
    eventually(device.online, "the fleet hears of it again")
    fleet.ok("shadow", "clear", "tiny")
    eventually(lambda: _beside(device) == [], "the device ended it")


def _shadow_processes(parent: int) -> list[int]:
    return [pid for pid, command in children(parent).items() if "edgemm_runtime.shadow.child" in command]
