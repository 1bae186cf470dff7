"""The manager's metrics: of constant size, in Prometheus's format and by its conventions, and cheap."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, insert

from edgemm_fleet.health import vitals
from edgemm_fleet.records.records import ModelRecord
from edgemm_fleet.store import models
from edgemm_fleet.store.schema import desired, devices, rollouts
from tests.unit.fleet.api.servers import RunningFleet, serving

FEW, MANY = 10, 5000
FORBIDDEN = re.compile(r"device|rollout|model", re.IGNORECASE)
UNITS = ("seconds", "bytes", "messages")


def populate(fleet: RunningFleet, number: int) -> None:
    """Enrol devices straight in the database, of which a tenth refuses and as many are online, with models."""
    rows = [
        {
            "id": f"cam-{n:06}", "name": f"cam-{n}", "labels_json": "{}", "key_json": "{}", "key_id": f"k{n}",
            "token_id": "t", "bearer_hash": f"b{n}", "broker_hash": "x", "runtime": "1", "platform": "linux-aarch64",
            "enrolled_at": 1.0, "online": n % 10 == 0, "duplicate_at": 5.0 if n % 10 == 1 else None,
        }
        for n in range(number)
    ]  # fmt: skip
    told = [
        {
            "device": row["id"], "generation": 1, "desired_json": "{}", "expires_at": 9e9, "unsent": n % 10 == 2,
            "refusal_json": "{}" if n % 10 == 3 else None,
        }
        for n, row in enumerate(rows)
    ]  # fmt: skip
    with fleet.state.store.write() as tx:
        tx.execute(insert(devices), rows)
        tx.execute(insert(desired), told)
    fleet.state.store.count_devices()


def publish(fleet: RunningFleet, number: int) -> None:
    """Record models, each with a rollout."""
    rows = [
        {
            "id": f"{n:08x}", "model": f"model-{n}", "plan_json": "{}", "state": "draft", "created_by": "ann",
            "created_at": float(n), "changed_at": float(n), "groups_json": "[]",
        }
        for n in range(number)
    ]  # fmt: skip
    with fleet.state.store.write() as tx:
        for n in range(number):
            models.add_model(tx, ModelRecord(name=f"model-{n}", publisher={}, minimum_version=None, created_at=1.0))
        tx.execute(insert(rollouts), rows)


def scrape(fleet: RunningFleet) -> str:
    response = fleet.request("GET", "/metrics", token="viewer")
    assert response.status == 200
    return response.data.decode()


@pytest.fixture
def few(tmp_path: Path) -> Iterator[RunningFleet]:
    with serving(tmp_path / "few") as found:
        populate(found, FEW)
        yield found


@pytest.fixture
def many(tmp_path: Path) -> Iterator[RunningFleet]:
    with serving(tmp_path / "many") as found:
        populate(found, MANY)
        publish(found, 60)
        yield found


def test_there_are_as_many_lines_for_any_fleet(few: RunningFleet, many: RunningFleet) -> None:
    one, other = scrape(few), scrape(many)
    names = [[line.rpartition(" ")[0] for line in text.splitlines() if line[0] != "#"] for text in (one, other)]
    assert names[0] == names[1]
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(other)
        for sample in family.samples
    }
    tenth = MANY / 10
    assert found["edgemm_fleet_devices", "online"] == tenth
    assert found["edgemm_fleet_devices", "offline"] == MANY - tenth
    assert found["edgemm_fleet_devices_duplicate",] == tenth
    assert found["edgemm_fleet_devices_refusing",] == tenth
    assert found["edgemm_fleet_outbox_waiting",] == tenth
    assert found["edgemm_fleet_rollouts", "draft"] == 60
    assert found["edgemm_fleet_finding", "devices_refuse"] == 1
    assert found["edgemm_fleet_healthy",] == 0


def test_no_label_names_what_there_may_be_a_million_of(many: RunningFleet) -> None:
    shown = scrape(many)
    assert "cam-0" not in shown
    assert "model-1" not in shown
    labels = {name for family in text_string_to_metric_families(shown) for s in family.samples for name in s.labels}
    assert not any(FORBIDDEN.search(label) for label in labels)


def test_names_are_as_prometheus_has_them(few: RunningFleet) -> None:
    """As `promtool check metrics` looks: help, units, suffixes, and no series twice."""
    shown = scrape(few)
    seen = set()
    for family in text_string_to_metric_families(shown):
        assert family.documentation, family.name
        assert family.documentation.endswith(".") or family.name.startswith("process_")
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", family.name), family.name
        assert not re.search(r"_(ms|kb|mb|percent|count|sum|bucket|total|gauge|counter|histogram)$", family.name)
        assert family.type in {"counter", "gauge", "histogram", "info"}, (family.name, family.type)
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples), family.name
        if family.type == "histogram":
            assert family.name.endswith(UNITS), family.name
            bounds = [s.labels["le"] for s in family.samples if s.name.endswith("_bucket")]
            assert bounds[-1] == "+Inf"
            assert [float(bound) for bound in bounds] == sorted(float(bound) for bound in bounds)
        for sample in family.samples:
            key = (sample.name, *sorted(sample.labels.items()))
            assert key not in seen, key
            seen.add(key)
    assert {"edgemm_fleet_ingest_lag_seconds", "edgemm_fleet_tick_age_seconds"} <= {name for name, *_ in seen}


def test_writes_are_counted_by_what_they_took(few: RunningFleet) -> None:
    def writes() -> float:
        found = re.search(r"^edgemm_fleet_database_commit_seconds_count (\S+)$", scrape(few), re.MULTILINE)
        assert found
        return float(found[1])

    before = writes()
    with few.state.store.write():
        pass
    assert writes() == before + 1


@pytest.mark.sqlite
def test_a_scrape_reads_no_device(many: RunningFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every statement of a scrape is answered by an index, and those of the fleet once in a few seconds."""
    monkeypatch.setattr(vitals, "COUNTED_EVERY_S", 0.0)
    store, said = many.state.store, list[tuple[str, Any]]()

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            said.append((statement, parameters))

    event.listen(store._readers, "before_cursor_execute", note)
    scrape(many)
    assert len(said) > 5
    for statement, parameters in said:
        with store.read() as tx:
            plan = tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
        scans = [row.detail for row in plan if re.match(r"SCAN (devices|desired|members|reported)\b", row.detail)]
        partial = r"USING (COVERING )?INDEX (devices_duplicate|desired_refused|desired_unsent)$"
        assert all(re.search(partial, scan) for scan in scans), (statement, scans)
        assert not scans or "LIMIT" in statement, statement
