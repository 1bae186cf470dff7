"""`edgemm fleet status`: one screen, plain words, and an exit status that a script may use."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from edgemm.cli import run
from edgemm.transport.patience import HttpPatience
from edgemm_fleet.api.messages import FleetStatus
from edgemm_fleet.client.api_connection import LITTLE_PATIENCE
from edgemm_fleet.client.profile import write_profile
from edgemm_fleet.commands import fleet_status
from edgemm_fleet.commands.fleet_status import _screen
from edgemm_fleet.health.health_facts import BrokerFacts
from edgemm_fleet.health.health_findings import Finding, FindingName
from edgemm_fleet.health.hearing import Hearing
from edgemm_fleet.health.measures import ManagerMeasures
from edgemm_fleet.records.expiries import Expiry
from edgemm_fleet.store import person_tokens
from edgemm_fleet.worker import ToldFailure
from simulators.mosquitto import free_port
from tests.unit.fleet.api.servers import RunningFleet, serving

COLUMNS, LINES = 80, 24


@pytest.fixture
def logged_in(fleet: RunningFleet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunningFleet:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    write_profile(fleet.profile("viewer"))
    return fleet


def measures(**changed: object) -> ManagerMeasures:
    found = {
        "database": "postgresql", "database_size_bytes": 10**12, "commit_s": 0.8, "write_s": 2.0, "write_wait_s": 9.0,
        "writer_share": 1.0, "ingest_waiting": 1_000_000, "ingest_lag_s": 12_000.5, "ingest_per_s": 123_456.7,
        "outbox_waiting": 10_000, "outbox_behind_s": 9_000.0, "broker_gone_s": 900.0, "tick_age_s": 900.0,
        "disk_size_bytes": 10**12, "disk_free_bytes": 10**6, "http_connections": 4096, "devices_refusing": 10_000,
    }  # fmt: skip
    return msgspec.convert(found | changed, ManagerMeasures)


WORST = FleetStatus(
    fleet="a-fleet-of-which-the-name-has-as-many-characters-as-it-may-have",
    version="10.20.30",
    public_url="https://" + "a-host." * 30 + "example:65535",
    broker_connected=False,
    online=1_000_000,
    offline=1_000_000,
    rollouts=dict.fromkeys(("halted", "running", "paused", "rolled_back", "rolling_back", "finished", "draft"), 10_000),
    ending=tuple(Expiry(kind="certificate", name="x" * 200, ends_at=1.0, advice="y" * 200) for _ in range(200)),
    healthy=False,
    findings=tuple(
        Finding(name=name, urgent=True, text="some words " * 40, next="what to do " * 40) for name in FindingName
    ),
    measures=measures(),
)


def test_the_worst_of_it_is_on_one_screen() -> None:
    lines = list(_screen(WORST, now=1_800_000_000.0))
    assert len(lines) <= LINES, "\n".join(lines)
    assert max(map(len, lines)) <= COLUMNS
    assert "NOT HEALTHY" in lines[0]
    assert any("more: --json" in line for line in lines)


def test_a_manager_of_an_earlier_edgemm_tells_no_health(capsys: pytest.CaptureFixture[str]) -> None:
    old = {
        "fleet": "plant", "version": "0.2.0", "public_url": "https://x", "broker_connected": True, "online": 1,
        "offline": 0, "rollouts": {}, "ending": [],
    }  # fmt: skip
    lines = list(_screen(msgspec.convert(old, FleetStatus), now=1.0))
    assert lines[0] == "plant: health not told, by an earlier edgemm"
    assert not any("None" in line for line in lines)


def test_a_healthy_manager_ends_with_0(logged_in: RunningFleet, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fleet", "status"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("plant: healthy\n")
    assert run(["fleet", "status", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["healthy"], found["findings"]) == (True, [])
    assert found["measures"]["database"] in {"sqlite", "postgresql"}


def test_an_unhealthy_one_ends_with_1_and_says_what_to_do(
    logged_in: RunningFleet, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = Hearing(broker=lambda: BrokerFacts(url="mqtt://b:1883", gone_s=185.0))
    logged_in.state.vitals.hearing = gone
    assert run(["fleet", "status"]) == 1
    shown = capsys.readouterr().out
    assert "NOT HEALTHY\n! the broker at mqtt://b:1883 has been gone for 3 min\n  -> start it" in shown
    assert run(["fleet", "status", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["findings"]] == ["broker_gone"]
    overview = logged_in.request("GET", "/api/v1/overview", token="viewer").json()
    assert (overview["healthy"], overview["health"]) == (
        False, "not healthy: the broker at mqtt://b:1883 has been gone for 3 min",
    )  # fmt: skip


@pytest.fixture
def down(logged_in: RunningFleet) -> str:
    url = f"http://127.0.0.1:{free_port()}"
    write_profile(msgspec.structs.replace(logged_in.profile("viewer"), url=url))
    return url


def test_a_manager_that_is_down_is_said_to_be(down: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fleet", "status"]) == 1
    shown = capsys.readouterr().out
    assert f"{down}: NOT HEALTHY\n! the manager does not tell how it is: " in shown
    assert "edgemm fleet serve FOLDER" in shown
    assert run(["fleet", "status", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["healthy"] is False
    assert [one["name"] for one in found["findings"]] == ["manager_down"]


def test_a_database_that_is_gone_is_not_said_to_be_a_manager_that_is(
    logged_in: RunningFleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whose token it is cannot be looked up either: the manager answers 503 to all."""

    def gone(*_: object, **__: object) -> None:
        raise ToldFailure("fleet database postgresql://db/fleet: Connection refused; nothing of this step was kept")

    monkeypatch.setattr(person_tokens, "find", gone)
    assert run(["fleet", "status"]) == 1
    said = capsys.readouterr().out
    assert f"{logged_in.url}: NOT HEALTHY\n! the database fails: fleet database postgresql://db/fleet: Conn" in said
    assert "fleet serve" not in said
    assert run(["fleet", "status", "--json"]) == 1
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["findings"]] == ["database_fails"]


def test_a_manager_that_hangs_is_given_up_sooner_than_one_that_works(
    monkeypatch: pytest.MonkeyPatch, logged_in: RunningFleet, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fleet_status, "LITTLE_PATIENCE", replace(LITTLE_PATIENCE, slow_s=0.2, read_timeout_s=0.2))
    with socket.create_server(("127.0.0.1", 0)) as hangs:  # takes connections, and answers nothing
        url = f"http://127.0.0.1:{hangs.getsockname()[1]}"
        write_profile(msgspec.structs.replace(logged_in.profile("viewer"), url=url))
        assert run(["fleet", "status"]) == 1
    assert f"{url}: NOT HEALTHY\n! the manager does not tell how it is: {url}: no answer" in capsys.readouterr().out
    assert LITTLE_PATIENCE.slow_s < HttpPatience.slow_s


def test_the_document_of_the_api_describes_it(fleet: RunningFleet) -> None:
    schemas = fleet.request("GET", "/api/v1/openapi.json", token="viewer").json()["components"]["schemas"]
    assert {"healthy", "findings", "measures"} <= schemas["FleetStatus"]["properties"].keys()
    assert schemas["Finding"]["required"] == ["name", "urgent", "text", "next"]
    assert "commit_s" in schemas["ManagerMeasures"]["properties"]


def test_what_ends_of_mosquittos_certificate_is_told(tmp_path: Path) -> None:
    with serving(tmp_path / "fleet", scheme="https") as fleet:
        file = fleet.folder.certificate
        told = replace(fleet.state, foreign_certificates={"mosquitto": file})
        found = {(one.kind, one.name): one for one in told.expiries.all(now=fleet.clock())}
        assert found["certificate", "mosquitto"].ends_at == found["certificate", "server"].ends_at
        assert "--mosquitto-certificate" in found["certificate", "mosquitto"].advice
        (tmp_path / "none.pem").write_text("nothing")
        told = replace(fleet.state, foreign_certificates={"mosquitto": tmp_path / "none.pem"})
        assert "mosquitto" not in {one.name for one in told.expiries.all(now=fleet.clock())}
