"""The numbers that the API tells of the whole fleet, and what failed beside what serves."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgemm_fleet.api.messages import RolloutRequest
from edgemm_fleet.client import FleetClient
from edgemm_fleet.records.rollout_plan import Group, Selector
from simulators.broker import MODEL, digest_of
from simulators.device import Outcome
from tests.unit.fleet.api.populated import Populated
from tests.unit.fleet.api.servers import RunningFleet, serving

EVERYBODY = Group(percent=100, deadline_s=100)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[RunningFleet]:
    with serving(tmp_path / "fleet") as fleet:
        yield fleet


@pytest.fixture
def local(served: RunningFleet) -> Iterator[Populated]:
    fleet = Populated(served)
    yield fleet
    fleet.store.close()


def ask(served: RunningFleet, path: str, status: int = 200) -> Any:
    answer = served.request("GET", f"/api/v1{path}", token="viewer")
    assert answer.status == status, answer.data
    return json.loads(answer.data)


def test_totals_are_of_the_whole_fleet_and_the_time_is_the_servers(served: RunningFleet, local: Populated) -> None:
    local.add("cam-1", "cam-2", site="hall")
    local.add("cam-3", online=False)
    local.run("1.0.0", EVERYBODY, selector=Selector(labels={"site": ("hall",)}))
    served.clock.ahead_s = 1e6
    found = ask(served, "/overview")
    assert found["now"] == pytest.approx(served.clock(), abs=60)
    assert (found["devices_online"], found["devices_offline"]) == (2, 1)
    assert (found["models"], found["versions"], found["rollouts"]["finished"]) == (1, 4, 1)


def test_the_highest_version_comes_first_page_by_page(served: RunningFleet, local: Populated) -> None:
    ordered = ["2.0.0", "1.10.0", "1.9.0", "1.0.0"]
    found: list[str] = []
    for after in ("", *(f"&after={version}" for version in ordered[:-1])):
        part = ask(served, f"/models/{MODEL}/versions?limit=1{after}")
        found += [one["version"] for one in part["items"]]
    assert part["next"] is None
    assert found == ordered
    assert [one["version"] for one in ask(served, f"/models/{MODEL}")["versions"]] == ordered
    assert ask(served, f"/models/{MODEL}/versions?after=1.9.5")["items"][0]["version"] == "1.9.0"


def test_what_failed_is_told_beside_what_serves_after_the_rollout_took_it_back(
    served: RunningFleet, local: Populated
) -> None:
    local.add("cam-1", "cam-2")
    local.run("1.9.0", EVERYBODY)
    local.devices["cam-1"].outcomes[digest_of("2.0.0")] = Outcome.SELFTEST_FAILED
    local.devices["cam-1"].detail = "output probs: expected 0.25"
    rollout = local.run("2.0.0", EVERYBODY, selector=Selector(devices=("cam-1",)))
    [told] = ask(served, "/devices/cam-1")["reported"]["models"]
    assert (told["active_version"], told["version"]) == ("1.9.0", "1.9.0"), "the device says nothing of it any more"
    [failed] = ask(served, "/devices/cam-1")["failed"]
    assert (failed["model"], failed["version"], failed["rollout"]) == (MODEL, "2.0.0", rollout)
    assert (failed["reason"], failed["detail"]) == ("selftest_failed", "output probs: expected 0.25")
    listed = {one["device"]["id"]: one["failed"] for one in ask(served, "/devices")["items"]}
    assert listed == {"cam-1": [failed], "cam-2": []}
    del local.devices["cam-1"].outcomes[digest_of("2.0.0")]
    local.run("2.0.0", EVERYBODY)
    assert ask(served, "/devices/cam-1")["failed"] == [], "it runs now"


def test_members_are_listed_by_state(served: RunningFleet, local: Populated) -> None:
    local.add("cam-1", "cam-2", "cam-3")
    local.devices["cam-2"].silent = True
    rollout = local.run("1.0.0", EVERYBODY)
    found = ask(served, f"/rollouts/{rollout}/members?state=pending")["items"]
    assert [one["device"] for one in found] == ["cam-2"]
    assert "expected one of" in ask(served, f"/rollouts/{rollout}/members?state=comitted", 400)["error"]["message"]


def test_a_removed_device_is_waited_for_no_longer(served: RunningFleet, local: Populated) -> None:
    local.add("cam-1", "cam-2")
    local.devices["cam-2"].silent = True
    rollout = local.run("1.0.0", Group(percent=100, min_reached=1.0, deadline_s=1000))
    assert served.request("DELETE", "/api/v1/devices/cam-2", token="operator").status == 204
    found = ask(served, f"/rollouts/{rollout}")
    assert (found["rollout"]["state"], found["groups"]) == ("finished", [{"committed": 1, "excused": 1}])
    assert served.request("DELETE", "/api/v1/devices/cam-2", token="operator").status == 404, "twice is once"


@pytest.mark.parametrize("behind_s", [0.0, 3 * 86_400.0])
def test_ages_are_told_by_the_servers_clock(
    served: RunningFleet, monkeypatch: pytest.MonkeyPatch, behind_s: float
) -> None:
    here = SimpleNamespace(time=lambda: time.time() - behind_s)
    monkeypatch.setattr("edgemm_fleet.client.api_connection.time", here)
    with FleetClient(served.profile("viewer")) as client:
        client.me()
        assert client.now() == pytest.approx(time.time(), abs=60)


def test_a_request_of_an_earlier_version_knows_no_empty_rollouts() -> None:
    assert RolloutRequest(model=MODEL, version="1.0.0").allow_empty is False
