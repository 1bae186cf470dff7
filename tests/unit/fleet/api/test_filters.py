"""Filters over the API: lists, counts, rollouts, shadows, and what is said of one that cannot be read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.store.dialects import time_limit
from simulators.broker import MODEL, digest_of
from simulators.device import Outcome
from tests.unit.fleet.api.populated import Populated
from tests.unit.fleet.api.servers import RunningFleet, serving

pytestmark = pytest.mark.sqlite  # one fleet for all tests, and a database of PostgreSQL is one test's
EVERYBODY = Group(percent=100, deadline_s=100, error_threshold=1)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFleet]:
    """Five devices: two at plant 7, one of which failed, and one that is away."""
    with serving(Path(tmp_path_factory.mktemp("filters")) / "fleet") as fleet:
        local = Populated(fleet)
        local.add("cam-1", "cam-2", site="plant-7")
        local.add("cam-3", "lens-1", site="plant-8", ring="canary")
        local.run("1.0.0", EVERYBODY)
        local.devices["cam-2"].outcomes[digest_of("1.9.0")] = Outcome.ERRORS
        local.run("1.9.0", EVERYBODY)
        local.add("cam-4", online=False)
        local.store.close()
        yield fleet


def ask(fleet: RunningFleet, path: str, status: int = 200, **query: object) -> Any:
    answer = fleet.request("GET", f"/api/v1{path}?{urlencode(query)}", token="viewer")
    assert answer.status == status, answer.data
    return json.loads(answer.data)


@pytest.mark.parametrize(
    "query", ["where=online&where=site=plant-7", "limit=1&where=online&limit=2", "count=1&count=1"]
)
def test_a_parameter_that_is_given_twice_is_refused(served: RunningFleet, query: str) -> None:
    """Of two filters one would be read, and mean more devices than both together."""
    answer = served.request("GET", f"/api/v1/devices?{query}", token="viewer")
    assert answer.status == 400
    assert "query of list_devices: expected each parameter once" in answer.data.decode()


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("site=plant-7", ["cam-1", "cam-2"]),
        ("site=plant-7 or site=plant-8 ring=canary", ["cam-1", "cam-2", "cam-3", "lens-1"]),
        (f"model:{MODEL} version<1.9", ["cam-2"]),
        (f"model:{MODEL} (state:failed or state:rolled_back)", ["cam-2"]),
        (f"model:{MODEL} version>=1.9 id^=cam-", ["cam-1", "cam-3"]),
        (f"not model:{MODEL}", ["cam-4"]),
        ("not online", ["cam-4"]),
        ("not label:site", ["cam-4"]),
        ("engine>=tflite@2.1 seen<1h not label:ring", ["cam-1", "cam-2"]),
        ("site=nowhere", []),
    ],
)
def test_a_list_has_the_devices_that_a_filter_means(served: RunningFleet, where: str, names: list[str]) -> None:
    found = ask(served, "/devices", where=where, count="true")
    assert [one["device"]["id"] for one in found["items"]] == names
    assert (found["matching"], found["next"]) == (len(names), None)
    by_page: list[str] = []
    after: dict[str, Any] = {}
    while True:
        page = ask(served, "/devices", where=where, limit=1, **after)
        by_page += [one["device"]["id"] for one in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert by_page == names
    assert "matching" not in page


def test_without_a_filter_all_are_listed_and_counted(served: RunningFleet) -> None:
    assert ask(served, "/devices", limit=2, count="true")["matching"] == 5
    assert set(ask(served, "/devices")) == {"items", "next"}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            "site=plant-7 onlin",
            "filter, column 14: 'onlin' is no term: expected one such as site=plant-7; did you mean",
        ),
        ("version<1.2", "filter, column 1: version of which model? Put model:NAME beside it"),
        ("a=" + "x" * 10_000, "filter: 10,002 bytes, the limit is 2,000; label the devices that are meant"),
        ("", "filter, column 1: expected a term"),
    ],
)
def test_a_filter_that_cannot_be_read_gets_one_line(served: RunningFleet, where: str, message: str) -> None:
    error = ask(served, "/devices", 400, where=where)["error"]
    assert error["message"].startswith(message)
    assert "\n" not in error["message"]
    assert error["hint"] == "docs/filters.md has the grammar of filters"
    assert f"column {error['column']}:" in message or error["column"] == 1


def test_a_filter_in_a_body_is_refused_likewise_and_other_errors_have_no_column(served: RunningFleet) -> None:
    plan = {"model": MODEL, "version": "1.10.0", "selector": {"where": "online seen>1"}}
    for where in ("/rollouts", f"/models/{MODEL}/shadow/clear"):
        body = plan if where == "/rollouts" else {"selector": plan["selector"]}
        answer = served.request("POST", f"/api/v1{where}", token="operator", body=json.dumps(body))
        error = json.loads(answer.data)["error"]
        assert (answer.status, error["column"], error["hint"][:15]) == (400, 13, "docs/filters.md")
    assert "column" not in ask(served, "/devices", 400, limit="many")["error"]


LONGER = "".join(f"(a=é b{number:02}={'x' * 51})" for number in range(32))


@pytest.mark.parametrize("where", [" ".join(f"site=p{n}" for n in range(1000)), LONGER], ids=["10 kB", "canonical"])
def test_a_filter_that_is_too_long_is_refused_before_a_rollout_has_it(served: RunningFleet, where: str) -> None:
    """Its canonical text, which may be longer than what was given, is read at each look."""
    plan = {"model": MODEL, "version": "1.10.0", "selector": {"where": where}}
    answer = served.request("POST", "/api/v1/rollouts", token="operator", body=json.dumps(plan))
    error = json.loads(answer.data)["error"]
    assert (answer.status, error["hint"][:15]) == (400, "docs/filters.md")
    assert "bytes, the limit is 2,000; label the devices that are meant" in error["message"]


def test_labels_are_named_with_the_values_of_one(served: RunningFleet) -> None:
    assert ask(served, "/labels", label="site") == {"names": ["ring", "site"], "values": ["plant-7", "plant-8"]}
    assert ask(served, "/labels") == {"names": ["ring", "site"], "values": []}


def test_a_shadow_is_for_those_that_a_filter_means(served: RunningFleet) -> None:
    body = {"version": "1.10.0", "selector": {"where": "version<1.9 site^=plant"}}
    answer = served.request("PUT", f"/api/v1/models/{MODEL}/shadow", token="operator", body=json.dumps(body))
    assert json.loads(answer.data)["devices"] == ["cam-2"]
    body = {"selector": {"where": "version<1.9 online and"}}
    answer = served.request("POST", f"/api/v1/models/{MODEL}/shadow/clear", token="operator", body=json.dumps(body))
    assert (answer.status, json.loads(answer.data)["error"]["message"][:19]) == (400, "filter, column 23: ")


def test_a_filter_that_takes_too_long_is_given_up(served: RunningFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a viewer has the whole fleet counted, term by term, for minutes."""
    costly = " ".join(f"seen<{number}d" for number in range(1, 65))
    assert ask(served, "/devices", where=costly, count="true")["matching"] > 0
    monkeypatch.setattr(time_limit, "_STEPS", 1)
    monkeypatch.setattr(time_limit, "_LONGEST_S", 0.0)
    told = ask(served, "/devices", 400, where=costly, count="true")["error"]["message"]
    assert told == (
        "filter: expected an answer within 0 s, found none; ask for fewer terms, or label the devices that are meant"
    )
    monkeypatch.undo()
    assert ask(served, "/devices", where=costly, count="true")["matching"] > 0
