"""What devices are asked to do once, over the API."""

import json
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from edgemm.errors import NotFoundError
from edgemm.messages import MAX_PENDING_ACTIONS, Action, ActionResult
from edgemm_fleet.store import actions, audit, desired, devices
from simulators.broker import enrol
from tests.unit.fleet.api.servers import RunningFleet

CAM = "/api/v1/devices/cam-1/actions"


@pytest.fixture(autouse=True)
def enrolled(fleet: RunningFleet) -> None:
    with fleet.state.store.write() as tx:
        for name in ("cam-1", "cam-2"):
            enrol(tx, name, CryptoSigner.generate_ed25519(), labels={})


def ask(fleet: RunningFleet, *, path: str = CAM, token: str = "operator", status: int = 200, **body: object) -> Any:
    """Return the action where it is accepted, and else what the error says."""
    response = fleet.request("POST", path, token=token, body=json.dumps(body))
    answer = json.loads(response.data)
    assert response.status == status, answer
    return answer if status == 200 else answer["error"]["message"]


def get(fleet: RunningFleet, path: str = CAM, status: int = 200) -> Any:
    response = fleet.request("GET", path, token="viewer")
    assert response.status == status
    return json.loads(response.data)


def wanted(fleet: RunningFleet, device: str = "cam-1") -> list[Action]:
    with fleet.state.store.read() as tx:
        found = desired.find(tx, device)
    return [] if found is None else list(found.desired.actions)


def finish(fleet: RunningFleet, action: str, *, ok: bool = True, detail: str = "") -> None:
    with fleet.state.store.write() as tx:
        assert actions.finish(tx, "cam-1", ActionResult(id=action, ok=ok, detail=detail), now=fleet.clock())


def test_what_is_asked_for_is_wanted_of_the_device_and_logged(fleet: RunningFleet) -> None:
    asked = ask(fleet, kind="selftest", model="digits")
    assert (asked["device"], asked["ok"], asked["done_at"]) == ("cam-1", None, None)
    assert wanted(fleet) == [Action(id=asked["action"]["id"], kind="selftest", model="digits")]
    assert wanted(fleet, "cam-2") == []
    with fleet.state.store.read() as tx:
        [line] = audit.page(tx).items
    assert (line.actor, line.action, line.subject) == ("person:operator-person", "device.act", "cam-1")
    assert line.detail == f"selftest digits id {asked['action']['id']}"


def test_the_same_id_is_the_same_request(fleet: RunningFleet) -> None:
    first = ask(fleet, kind="prune", id="once")
    finish(fleet, "once", detail="7 bytes freed")
    again = ask(fleet, kind="prune", id="once")
    assert (first["done_at"], again["ok"], again["detail"]) == (None, True, "7 bytes freed")
    assert len(get(fleet)["items"]) == 1
    assert "this id is that of another action" in ask(fleet, kind="restart", id="once", status=409)
    elsewhere = ask(fleet, path=CAM.replace("cam-1", "cam-2"), kind="prune", id="once", status=409)
    assert "this id is that of another action" in elsewhere


def test_the_newest_are_listed_first_page_by_page(fleet: RunningFleet) -> None:
    for number in range(5):
        ask(fleet, kind="diagnose", id=f"a-{number}")
    finish(fleet, "a-3", ok=False, detail="no")
    first = get(fleet, CAM + "?limit=3")
    rest = get(fleet, f"{CAM}?limit=3&after={first['next']}")
    assert [one["action"]["id"] for one in first["items"] + rest["items"]] == ["a-4", "a-3", "a-2", "a-1", "a-0"]
    assert rest["next"] is None
    assert (first["items"][1]["ok"], first["items"][1]["detail"]) == (False, "no")
    assert get(fleet, f"{CAM}/a-3") == first["items"][1]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"kind": "dance"}, 400, "Invalid enum value 'dance'"),
        ({}, 400, "required field `kind`"),
        ({"kind": "prune", "model": "digits"}, 400, "it is about the whole device"),
        ({"kind": "prune", "id": "a b"}, 400, "body of add_action"),
        ({"kind": "prune", "id": ".."}, 400, "body of add_action"),
    ],
)
def test_what_cannot_be_asked_for_changes_nothing(
    fleet: RunningFleet, body: dict[str, Any], status: int, said: str
) -> None:
    assert said in ask(fleet, **body, status=status)
    assert get(fleet)["items"] == []
    assert wanted(fleet) == []


def test_nobody_asks_a_device_that_is_not_there(fleet: RunningFleet) -> None:
    assert "no device 'cam-9'" in ask(fleet, path=CAM.replace("cam-1", "cam-9"), kind="prune", status=404)
    ask(fleet, kind="prune", id="mine")
    get(fleet, f"{CAM}/other", status=404)
    get(fleet, f"{CAM.replace('cam-1', 'cam-2')}/mine", status=404)


def test_what_waits_for_a_device_ends_when_it_is_removed(fleet: RunningFleet) -> None:
    ask(fleet, kind="restart", id="before")
    assert fleet.request("DELETE", "/api/v1/devices/cam-1", token="admin").status < 300
    assert "no device 'cam-1'" in ask(fleet, kind="restart", id="after", status=404)
    with fleet.state.store.read() as tx:
        assert actions.waiting(tx, ["cam-1"]) == {}
        before = actions.find(tx, "before")
    assert before is not None
    assert (before.ok, before.detail) == (False, "the device was removed")
    assert before.done_at is not None


def test_a_device_that_is_removed_between_the_look_and_the_write_gets_nothing(fleet: RunningFleet) -> None:
    with fleet.state.store.write() as tx:
        devices.remove(tx, "cam-1", now=fleet.clock())
    with pytest.raises(NotFoundError, match="no device 'cam-1'"):
        fleet.state.actions.add("cam-1", Action(id="late", kind="restart"), actor="person:x", now=fleet.clock())
    with fleet.state.store.read() as tx:
        assert actions.find(tx, "late") is None


def test_no_more_wait_than_a_message_has_room_for(fleet: RunningFleet) -> None:
    for number in range(MAX_PENDING_ACTIONS):
        ask(fleet, kind="prune", id=f"a-{number}")
    assert "32 actions wait for it already" in ask(fleet, kind="prune", status=409)
    ask(fleet, kind="prune", id="a-7")
    finish(fleet, "a-0")
    assert ask(fleet, kind="prune", id="late")["action"]["id"] == "late"
    assert len(wanted(fleet)) == MAX_PENDING_ACTIONS


def test_old_results_are_forgotten_and_what_waits_is_not(fleet: RunningFleet) -> None:
    ask(fleet, kind="prune", id="waiting")
    for number in range(300):
        ask(fleet, kind="prune", id=f"a-{number}")
        finish(fleet, f"a-{number}")
    with fleet.state.store.read() as tx:
        kept = [one.action.id for one in actions.page(tx, "cam-1", limit=1000).items]
    assert kept == [*(f"a-{number}" for number in range(299, 43, -1)), "waiting"]
