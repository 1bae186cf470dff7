"""What cannot be read of one device is shown by name, and the lists of the others go on."""

import json
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from sqlalchemy import text

from edgemm.messages import Action
from edgemm_fleet.api.messages import DeviceDetail, DeviceSummary
from edgemm_fleet.client import FleetClient
from edgemm_fleet.commands.devices import _facts, _row
from simulators.broker import enrol
from tests.unit.fleet.api.servers import RunningFleet


@pytest.fixture(autouse=True)
def enrolled(fleet: RunningFleet) -> None:
    """Two devices that were told something; of one, that cannot be read any more."""
    store = fleet.state.store
    with store.write() as tx:
        for name in ("cam-1", "cam-2"):
            enrol(tx, name, CryptoSigner.generate_ed25519(), labels={"site": "hall"})
    for name in ("cam-1", "cam-2"):
        action = Action(id=f"a-{name}", kind="diagnose")
        fleet.state.actions.add(name, action, actor="person:ann", now=fleet.clock())
    with store.write() as tx:
        tx.execute(text("UPDATE desired SET desired_json = '{' WHERE device = 'cam-1'"))
        tx.execute(text("UPDATE devices SET labels_json = 'x' WHERE id = 'cam-1'"))


def get(fleet: RunningFleet, path: str) -> Any:
    response = fleet.request("GET", path, token="viewer")
    assert response.status == 200, response.data
    return json.loads(response.data)


def test_lists_and_details_name_it(fleet: RunningFleet) -> None:
    first, second = get(fleet, "/api/v1/devices")["items"]
    assert sorted(first["unreadable"]) == ["desired", "labels"]
    assert "truncated" in first["unreadable"]["desired"]
    assert (first["device"]["labels"], second["unreadable"]) == ({}, {})
    detail = get(fleet, "/api/v1/devices/cam-1")
    assert (sorted(detail["unreadable"]), detail["desired"]) == (["desired", "labels"], None)
    assert get(fleet, "/api/v1/devices/cam-2")["desired"] is not None


def test_the_command_line_shows_it(fleet: RunningFleet) -> None:
    with FleetClient(fleet.profile("viewer")) as client:
        summaries: list[DeviceSummary] = list(client.devices())
        detail: DeviceDetail = client.device("cam-1")
    rows = [" ".join(_row(item, now=0.0)) for item in summaries]
    assert "offline; database unreadable: desired, labels" in rows[0]
    assert "unreadable" not in rows[1]
    warnings = [text for name, text in _facts(detail, now=0.0) if name == "WARNING"]
    assert warnings[0].startswith("desired of it in the database cannot be read and is passed over: ")


def test_metrics_count_it(fleet: RunningFleet) -> None:
    get(fleet, "/api/v1/devices")
    shown = fleet.request("GET", "/metrics", token="viewer").data.decode()
    assert "edgemm_fleet_unreadable 2.0" in shown
    assert "cam-1" not in shown


def test_a_label_that_is_given_again_heals_it(fleet: RunningFleet) -> None:
    body = json.dumps({"put": {"site": "yard"}})
    assert fleet.request("PATCH", "/api/v1/devices/cam-1/labels", token="operator", body=body).status == 200
    assert sorted(get(fleet, "/api/v1/devices/cam-1")["unreadable"]) == ["desired"]
