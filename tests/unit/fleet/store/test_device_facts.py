"""Facts of devices: kept in step with what they are of, made for older databases, forgotten with their last device."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event, select, text

from edgemm.messages import Reported
from edgemm_fleet.filters import parse
from edgemm_fleet.filters.expressions import FactSubject
from edgemm_fleet.filters.known_facts import Fact, of_machine, of_report
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.store import Store, devices
from edgemm_fleet.store.facts import device_facts as facts_of
from edgemm_fleet.store.facts import fact_queries
from edgemm_fleet.store.facts.fact_queries import FactQuery
from edgemm_fleet.store.facts.fact_tables import device_facts, facts
from simulators.broker import MODEL, LocalFleet, digest_of
from simulators.device import Outcome
from tests.unit.fleet.store.golden_databases import NAMES, golden

EVERYBODY = Group(percent=100, deadline_s=100, error_threshold=1)


def known(store: Store) -> dict[str, set[tuple[str, str, str]]]:
    found: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
    with store.read() as tx:
        joined = device_facts.join(facts, facts.c.fact == device_facts.c.fact)
        columns = (device_facts.c.device, facts.c.subject, facts.c.name, facts.c.value)
        for device, *fact in tx.execute(select(*columns).select_from(joined)):
            found[device].add(tuple(fact))
        assert set(tx.execute(select(facts.c.fact)).scalars()) == set(
            tx.execute(select(device_facts.c.fact)).scalars()
        ), "a fact that no device has"
    return found


def meant(fleet: LocalFleet, where: str) -> list[str]:
    with fleet.store.read() as tx:
        return FactQuery(tx, parse(where, model=MODEL), now=fleet.now).ids()


@pytest.mark.sqlite
@pytest.mark.parametrize("name", NAMES)
def test_an_older_database_gets_the_facts_that_it_would_have(tmp_path: Path, name: str) -> None:
    store = Store.open(golden(tmp_path, name))
    assert known(store) == {
        device: {
            ("label", "site", "hall"),
            ("os", "", "simulated"),
            ("runtime", "", "0.1.0"),
            ("engine", "tflite", "2.3.0"),
            ("state", MODEL, state),
            ("version", MODEL, version),
        }
        for device, state, version in (("cam-1", "activating", "1.0.0"), ("cam-2", "committed", "2.0.0"))
    }
    store.close()


@pytest.mark.sqlite
def test_what_of_an_older_database_cannot_be_read_has_no_facts(tmp_path: Path) -> None:
    path = golden(tmp_path, "0012")
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE devices SET labels_json = '[1'")
        database.execute("""UPDATE reported SET reported_json = '{"models": [7, {"name": "a", "state": 1}]}'""")
        database.commit()
    store = Store.open(path)
    assert set(known(store)) == {"cam-1", "cam-2"}
    assert {subject for fact in known(store)["cam-1"] for subject in fact[:1]} == {"os", "runtime"}
    store.close()


def test_facts_follow_labels_reports_failures_and_removals(tmp_path: Path) -> None:
    fleet = LocalFleet(tmp_path)
    fleet.add("cam-1", "cam-2", site="hall", ring="a")
    assert meant(fleet, "site=hall") == ["cam-1", "cam-2"]
    with fleet.store.write() as tx:
        devices.set_labels(tx, "cam-1", {"site": "yard"})
    assert (meant(fleet, "site=hall"), meant(fleet, "site=yard not label:ring")) == (["cam-2"], ["cam-1"])
    assert meant(fleet, f"model:{MODEL}") == []
    fleet.run("1.0.0", EVERYBODY)
    assert meant(fleet, "version<1.1 state:committed") == ["cam-1", "cam-2"]
    fleet.devices["cam-2"].outcomes[digest_of("2.0.0")] = Outcome.ERRORS
    fleet.run("2.0.0", EVERYBODY)
    assert meant(fleet, "version>=2") == ["cam-1"]
    failed = meant(fleet, "state:failed or state:rolled_back")
    assert failed == ["cam-2"], "the fleet took its version back, so that the device reports no failure any more"
    fleet.devices["cam-2"].outcomes.clear()
    fleet.run("3.0.0", EVERYBODY)
    assert meant(fleet, "state:failed or state:rolled_back") == []
    with fleet.store.write() as tx:
        devices.remove(tx, "cam-2", now=fleet.now)
    assert meant(fleet, "version>=3") == ["cam-1"]
    assert set(known(fleet.store)) == {"cam-1"}
    fleet.deliver(fleet.devices["cam-2"].connect())
    assert set(known(fleet.store)) == {"cam-1"}, "what a removed device still sends makes it none"
    fleet.store.close()


def test_a_device_that_is_let_in_again_has_its_facts_again(tmp_path: Path) -> None:
    fleet = LocalFleet(tmp_path)
    fleet.add("cam-1", site="hall")
    fleet.run("1.0.0", EVERYBODY)
    before = known(fleet.store)
    with fleet.store.write() as tx:
        device = devices.get(tx, "cam-1")
        devices.remove(tx, "cam-1", now=fleet.now)
        devices.readmit(tx, device, bearer_hash="b", broker_hash="h")
    assert known(fleet.store) == before
    fleet.store.close()


def test_a_device_of_damaged_labels_can_be_labelled_anew(tmp_path: Path) -> None:
    fleet = LocalFleet(tmp_path)
    fleet.add("cam-1", site="hall")
    with fleet.store.write() as tx:
        tx.execute(text("UPDATE devices SET labels_json = 'x'"))
    with fleet.store.write() as tx:
        devices.set_labels(tx, "cam-1", {"site": "yard"})
    assert (meant(fleet, "site=hall"), meant(fleet, "site=yard")) == ([], ["cam-1"])
    fleet.store.close()


def test_names_and_values_are_those_that_some_device_has(tmp_path: Path) -> None:
    fleet = LocalFleet(tmp_path)
    fleet.add("cam-1", site="hall", ring="a")
    fleet.add("cam-2", site="yard")
    with fleet.store.write() as tx:
        assert facts_of.names(tx, FactSubject.LABEL, limit=9) == ["ring", "site"]
        assert facts_of.values_of(tx, FactSubject.LABEL, "site", limit=9) == ["hall", "yard"]
        devices.set_labels(tx, "cam-2", {})
        assert facts_of.values_of(tx, FactSubject.LABEL, "site", limit=9) == ["hall"]
    fleet.store.close()


def test_an_engine_of_a_name_that_none_has_is_no_fact() -> None:
    long = {"x" * 8000: "1", "y" * 64: "2", "tflite": "3"}
    report = Reported(
        fleet="lab",
        device="cam-1",
        boot="0" * 16,
        boot_count=1,
        sequence=1,
        time="2027-01-15T08:00:00Z",
        clock_synced=True,
        generation=0,
        runtime="0.1.0",
        engines=long,
    )
    engines = {fact.name for fact in of_report(report) if fact.subject is FactSubject.ENGINE}
    assert engines == {"y" * 64, "tflite"}


@pytest.mark.parametrize(
    ("platform", "machine"),
    [
        ("Linux-6.1.0-rpi7-rpi-v8-aarch64-with-glibc2.36", {("os", "linux"), ("arch", "aarch64")}),
        ("Linux-5.10.103-v7l+-armv7l-with-glibc2.31", {("os", "linux"), ("arch", "armv7l")}),
        ("macOS-14.5-arm64-arm-64bit", {("os", "macos"), ("arch", "aarch64")}),
        ("Windows-10-10.0.19045-AMD64", {("os", "windows"), ("arch", "x86_64")}),
        ("Linux-6.8-x86_64-with-glibc2.39", {("os", "linux"), ("arch", "x86_64")}),
        ("simulated", {("os", "simulated")}),
        ("", set()),
    ],
)
def test_what_a_platform_says_of_a_machine(platform: str, machine: set[tuple[str, str]]) -> None:
    found = of_machine(platform, "0.2.0")
    assert {(fact.subject.value, fact.value) for fact in found} == machine | {("runtime", "0.2.0")}
    assert Fact(FactSubject.RUNTIME, "", "0.2.0") in found


def test_a_device_that_was_never_heard_of_is_what_it_is_not(tmp_path: Path) -> None:
    fleet = LocalFleet(tmp_path)
    fleet.add("cam-1", online=False)
    with fleet.store.write() as tx:
        tx.execute(text("UPDATE devices SET last_seen_at = NULL"))
    assert meant(fleet, "seen<1h") == []
    assert meant(fleet, "not seen<1h") == ["cam-1"]
    fleet.store.close()


@pytest.mark.parametrize("where", ["seen>1h label:ring", "online label:ring", "label:ring label:site"])
def test_each_side_of_what_a_page_looks_up_has_the_bounds_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(fact_queries, "_FEW", 1)
    monkeypatch.setattr(fact_queries, "_WALKED", 1)
    fleet = LocalFleet(tmp_path)
    fleet.add(*(f"cam-{number}" for number in range(5)), ring="a", site="b")
    with fleet.store.read() as tx:
        said = list[str]()
        event.listen(tx, "before_cursor_execute", lambda _c, _cur, words, *_: said.append(words))
        FactQuery(tx, parse(where), now=fleet.now).page(after="cam-1", limit=2)
    looked_up = said[-1]
    assert looked_up.count(" > ") == 2, looked_up
    assert looked_up.count(" <= ") in {0, 2}, looked_up
    fleet.store.close()
