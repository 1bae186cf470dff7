"""The SQL of a filter and its closures mean the same devices, whatever the devices and the filter are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert

from edgemm_fleet.filters import DeviceFacts, compiled, parse
from edgemm_fleet.filters.known_facts import Fact
from edgemm_fleet.store import Store, Transaction
from edgemm_fleet.store import devices as device_table
from edgemm_fleet.store.facts import device_facts, fact_queries
from edgemm_fleet.store.facts.fact_queries import FactQuery
from edgemm_fleet.store.schema import devices as rows
from tests.unit.fleet.filters.random_filters import NOW, devices, texts

pytestmark = pytest.mark.fleet

IDS = ("Cam-1", "cam-1", "cam-2", "cam-\uffff", "cam-\U0010ffff", "lens-2", "lens-20")
fleets = st.tuples(*(devices(device=device) for device in IDS)).flatmap(st.permutations)


class UndoneError(Exception):
    """Ends a transaction without a trace."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store.open(tmp_path_factory.mktemp("filters") / "fleet.db")
    yield store
    store.close()


def enrol(tx: Transaction, device: DeviceFacts) -> None:
    text = {
        "name": "",
        "labels_json": "{}",
        "key_json": "{}",
        "key_id": "",
        "token_id": "",
        "runtime": "",
        "platform": "",
    }
    values = text | {"bearer_hash": device.id, "broker_hash": "", "enrolled_at": NOW}
    tx.execute(insert(rows).values(id=device.id, online=device.online, last_seen_at=device.seen_at, **values))
    known = {Fact(subject, name, value) for (subject, name), found in device.values.items() for value in found}
    device_facts.put(tx, device.id, {fact.subject for fact in known}, known)


def pages(query: FactQuery, *, limit: int) -> list[str]:
    found: list[str] = []
    after: str | None = None
    while True:
        ids, after = query.page(after=after, limit=limit)
        assert len(ids) <= limit
        found += ids
        if after is None:
            return found


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fleets, st.lists(texts, min_size=4, max_size=4), st.booleans())
def test_sql_and_closures_mean_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch, fleet: list[DeviceFacts], filters: list[str], walks: bool
) -> None:
    with monkeypatch.context() as patch, pytest.raises(UndoneError), store.write() as tx:
        patch.setattr(fact_queries, "_FEW", 1 if walks else 20_000)
        patch.setattr(fact_queries, "_WALKED", 2)
        patch.setattr(fact_queries, "_MOST_NUMBERS", 1 if walks else 300)
        for device in fleet:
            enrol(tx, device)
            assert device_facts.of(tx, device.id) == device
        gone = fleet[0]
        device_table.remove(tx, gone.id, now=NOW)
        assert device_facts.of(tx, gone.id) is None
        for text in filters:
            read = parse(text, model="digits")
            is_meant = compiled(read)
            meant = sorted(device.id for device in fleet[1:] if is_meant(device, NOW))
            query = FactQuery(tx, read, now=NOW)
            assert (query.ids(), query.count(), pages(query, limit=2)) == (meant, len(meant), meant), text
        raise UndoneError
