"""Each finding on the manager's health, from facts to words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgemm_fleet.health.examination import findings
from edgemm_fleet.health.health_facts import (
    BrokerFacts,
    DatabaseFacts,
    DiskFacts,
    FleetCounts,
    HealthFacts,
    IngestFacts,
    SignedRole,
    WorkerFacts,
)
from edgemm_fleet.health.health_findings import FindingName, headline, healthy
from edgemm_fleet.instruments import Lately
from edgemm_fleet.records.expiries import Expiry

NOW = 1_800_000_000.0
DAY_S = 86_400.0
GB = 10**9
WELL = HealthFacts(
    now=NOW,
    broker=BrokerFacts(url="mqtts://fleet.example:8883"),
    database=DatabaseFacts(commits=Lately(60, 0.3, 0.01, 45.0), work=Lately(60, 0.6, 0.1, 45.0)),
    disk=DiskFacts(size_bytes=40 * GB, free_bytes=30 * GB),
    fleet=FleetCounts(online=90, offline=10),
    workers=(WorkerFacts(name="outbox", quiet_s=1.0, most_quiet_s=60.0),),
    signed=(SignedRole(name="timestamp", ends_at=NOW + 0.6 * DAY_S, lifetime_s=DAY_S),),
    endings=(Expiry(kind="certificate", name="server", ends_at=NOW + 400 * DAY_S, advice="renew it"),),
    connections=12,
    most_connections=4096,
)


def ending(kind: str, name: str, in_days: float) -> tuple[Expiry, ...]:
    return (Expiry(kind=kind, name=name, ends_at=NOW + in_days * DAY_S, advice="renew it so"),)


SLOW = DatabaseFacts(commits=Lately(10, 8.0, 2.0, 45.0))
BEHIND = IngestFacts(waiting=4300, behind_s=12.4, lately=Lately(30, 9000.0, 1000.0, 45.0))
URGENT = [
    ("clock_wrong", {"clock_plausible": False}, "the clock of this machine cannot be right"),
    ("database_fails", {"database": DatabaseFacts(failing_s=65.0, error="fleet database x: disk full")},
     "the database has failed for 1 min: fleet database x: disk full"),
    ("database_hangs", {"database": DatabaseFacts(under_way_s=7.5)},
     "a write to the database has been waiting for 7 s: another process holds it, or its disk hangs"),
    ("database_slow", {"database": SLOW}, "database commits take 800 ms"),
    ("database_slow", {"database": DatabaseFacts(work=Lately(10, 9.0, 1.0, 45.0))},
     "what is written to the database takes 900 ms each time"),
    ("disk_full", {"disk": DiskFacts(size_bytes=100 * GB, free_bytes=4 * GB)},
     "the disk of the fleet folder is 96 % full: 4.0 GB left"),
    ("broker_gone", {"broker": BrokerFacts(url="mqtt://b:1883", gone_s=185.0)},
     "the broker at mqtt://b:1883 has been gone for 3 min"),
    ("broker_gone", {"broker": BrokerFacts(url="mqtt://b:1883", gone_s=9.0, turned_away=True)},
     "the broker at mqtt://b:1883 has not let the manager in for 9 s"),
    ("ingest_behind", {"ingest": BEHIND},
     "ingest is behind by 12 s, 4,300 messages wait: more comes than this machine stores, 200 messages a second"),
    ("outbox_behind", {"outbox_behind_s": 75.0, "fleet": FleetCounts(online=9, untold=4300)},
     "the outbox has been behind for 1 min: 4,300 devices are still to be told something"),
    ("scheduler_hangs", {"tick_age_s": 40.0},
     "deadlines and waits of rollouts have not been looked at for 40 s"),
    ("worker_fails", {"workers": (WorkerFacts(name="logins", most_quiet_s=60.0, failing_s=30.0, error="no right"),)},
     "logins has failed for 30 s: no right"),
    ("worker_fails", {"workers": (WorkerFacts(name="orders", most_quiet_s=60.0, quiet_s=90.0),)},
     "orders has done nothing for 1 min"),
    ("certificate_ends", {"endings": ending("certificate", "mosquitto", 5.5)},
     "the certificate mosquitto ends in 5 d"),
    ("signature_ends", {"endings": ending("signature", "root", -2.2)}, "the signature root ended 2 d ago"),
    ("signing_hangs", {"signed": (SignedRole(name="timestamp", ends_at=NOW + 3600 * 2.5, lifetime_s=DAY_S),)},
     "the manager has not signed timestamp anew, which ends in 2 h: devices refuse new versions then"),
    ("http_full", {"connections": 4000}, "the API has 4,000 of 4,096 connections: newer ones push out others"),
    ("rows_unreadable", {"fleet": FleetCounts(unreadable=3)},
     "3 entries of the database cannot be read, and are passed over"),
    ("devices_refuse", {"fleet": FleetCounts(online=90, offline=10, refusing=5)},
     "5 of 100 devices refuse what they are told"),
]  # fmt: skip
NOTICES = [
    ("clock_leapt", {"clock_settled": False}),
    ("disk_full", {"disk": DiskFacts(size_bytes=100 * GB, free_bytes=8 * GB)}),
    ("devices_refuse", {"fleet": FleetCounts(online=90, offline=10, refusing=4)}),
    ("devices_duplicate", {"fleet": FleetCounts(online=90, duplicates=1)}),
    ("devices_cut_off", {"fleet": FleetCounts(online=90, cut_off=2)}),
]
NOTHING: list[dict[str, Any]] = [
    {},
    {"broker": BrokerFacts(gone_s=1.0)},
    {"ingest": IngestFacts(waiting=900, behind_s=1.0)},
    {"disk": DiskFacts(size_bytes=4000 * GB, free_bytes=21 * GB)},
    {"disk": None},
    {"outbox_behind_s": 20.0},
    {"endings": ending("certificate", "server", 8)},
    {"endings": ending("token", "1 of ann", -3)},
    {"broker": BrokerFacts(gone_s=2.0), "outbox_behind_s": 900.0},
    {"database": DatabaseFacts(under_way_s=1.0)},
]


@pytest.mark.parametrize(("name", "facts", "text"), URGENT)
def test_what_is_urgent_is_said_with_what_to_do(name: str, facts: dict[str, Any], text: str) -> None:
    (found,) = findings(replace(WELL, **facts))
    assert (found.name, found.urgent) == (name, True)
    assert found.text.startswith(text)
    assert found.next
    assert not healthy([found])
    assert headline([found]) == f"not healthy: {found.text}"


@pytest.mark.parametrize(("name", "facts"), NOTICES)
def test_what_is_worth_knowing_leaves_the_manager_healthy(name: str, facts: dict[str, Any]) -> None:
    (found,) = findings(replace(WELL, **facts))
    assert (found.name, found.urgent) == (name, False)
    assert headline([found]) == "healthy"


@pytest.mark.parametrize("facts", NOTHING)
def test_nothing_is_said_of_what_is_well(facts: dict[str, Any]) -> None:
    assert findings(replace(WELL, **facts)) == []


@pytest.mark.parametrize(
    ("facts", "cause"),
    [
        ({"database": SLOW}, "database commits take 800 ms"),
        ({"database": DatabaseFacts(failing_s=3.0)}, "the database fails"),
        ({"database": DatabaseFacts(under_way_s=3.0)}, "the database hangs"),
        ({"clock_plausible": False}, "the clock cannot be right"),
        ({"database": DatabaseFacts(waits=Lately(10, 4.0, 1.0, 45.0))},
         "the writer is busy with other things, 400 ms each time"),
    ],
)  # fmt: skip
def test_an_ingest_that_is_behind_says_why(facts: dict[str, Any], cause: str) -> None:
    found = {one.name: one.text for one in findings(replace(WELL, ingest=BEHIND, **facts))}
    assert found["ingest_behind"] == f"ingest is behind by 12 s, 4,300 messages wait: {cause}"


def test_a_database_that_fails_is_said_first_and_threads_that_fail_by_it_are_not() -> None:
    failing = WorkerFacts(name="outbox", most_quiet_s=60.0, failing_s=60.0, error="the same")
    facts = replace(WELL, database=DatabaseFacts(failing_s=60.0), workers=(failing,), tick_age_s=60.0)
    found = findings(facts)
    assert [one.name for one in found] == ["database_fails", "scheduler_hangs"]
    assert headline(found).endswith("(and 1 more)")


def test_every_name_is_found_by_some_facts() -> None:
    tried = {name for name, *_ in URGENT} | {name for name, *_ in NOTICES}
    assert tried | {FindingName.MANAGER_DOWN} == set(FindingName)


def test_a_long_error_is_cut() -> None:
    (found,) = findings(replace(WELL, database=DatabaseFacts(failing_s=1.0, error="x" * 5000)))
    assert len(found.text) < 300
