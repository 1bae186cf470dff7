"""The figures of a database that is filled: of rollouts, of filters, and of hand-written SQL beside them."""

from __future__ import annotations

import resource
import time
from typing import Any

from simulators import needs

with needs.imports(__name__, "fleet"):
    from benchmarks.device_filters import pages_and_counts
    from benchmarks.fleet_store.carrier import FIRST, Manager
    from edgemm_fleet.records.rollout_plan import Group
    from edgemm_fleet.store import Store
    from edgemm_fleet.store.dialects.database_address import DatabaseAddress
    from simulators.waiting import eventually

PATIENCE_S = 3600.0
_BARE = 200


def rollout_figures(manager: Manager, told: int) -> dict[str, object]:
    """Return the times of a rollout to one device among all, and of one to all that is halted while it hands out."""
    found: dict[str, object] = {}
    start = time.perf_counter()
    one = manager.begin("1.0.0", Group(count=1))
    manager.prepare(one)
    found["prepare_one_s"] = time.perf_counter() - start
    manager.operations.cancel(one, actor="benchmark", now=time.time())
    start = time.perf_counter()
    all_of_them = manager.begin("2.0.0", Group(percent=100, error_threshold=0.0))
    found["start_call_s"] = time.perf_counter() - start
    manager.outbox.start()
    try:
        eventually(lambda: manager.rollout(one).taken_back is None, "the first is over", timeout_s=PATIENCE_S)
        manager.broker.forget()
        began = manager.prepare(all_of_them)
        found["prepare_s"] = began - start
        broker = manager.broker
        eventually(lambda: len(broker.told) >= told, "enough are told", timeout_s=PATIENCE_S)
        first, last = min(broker.told.values()), max(broker.told.values())
        found |= {"start_s": first - began, "hand_out_rate": len(broker.told) / (last - first)}
        crossed = time.perf_counter()
        manager.cross()
        found["halt_transaction_s"] = time.perf_counter() - crossed
        eventually(lambda: manager.rollout(all_of_them).taken_back is None, "it is over", timeout_s=PATIENCE_S)
        found["halt_settled_s"] = time.perf_counter() - crossed
        eventually(lambda: len(broker.told_else) >= len(broker.told) - 1, "all is taken back", timeout_s=PATIENCE_S)
        last, back = max(broker.told.values()), sorted(at for one, at in broker.told_else.items() if one != FIRST)
        found |= {"told": len(broker.told), "halt_s": max(0.0, last - crossed), "retracted": len(back)}
        found |= {"retract_first_s": back[0] - crossed, "retract_last_s": back[-1] - crossed}
        found["retract_rate"] = len(back) / max(1e-9, back[-1] - back[0])
    finally:
        manager.outbox.stop()
    return found | manager.store.figures()


def bare(store: Store) -> dict[str, float]:
    """Return the times of the same by hand-written SQL."""
    steps = {
        "bare_prepare_s": "INSERT INTO bare SELECT id, 0 FROM devices",
        "bare_row_s": "UPDATE bare SET told = 1 WHERE device = 'a-first'",
        "bare_500_told_s": "UPDATE bare SET told = told + 1 WHERE device IN (SELECT device FROM bare LIMIT 500)",
    }
    times = {}
    with store.write() as tx:
        tx.exec_driver_sql("CREATE TABLE bare (device TEXT PRIMARY KEY, told INTEGER NOT NULL)")
    try:
        for name, sql in steps.items():
            start = time.perf_counter()
            with store.write() as tx:
                tx.exec_driver_sql(sql)
            times[name] = time.perf_counter() - start
        times["bare_longest_s"] = max(_timed_bare(store, name) for name in [steps["bare_500_told_s"]] * _BARE)
    finally:
        with store.write() as tx:
            tx.exec_driver_sql("DROP TABLE bare")
    return times


def _timed_bare(store: Store, sql: str) -> float:
    with store.write() as tx:
        start = time.perf_counter()
        tx.exec_driver_sql(sql)
    return time.perf_counter() - start


def filter_figures(address: Any, count: int) -> dict[str, float]:
    """Return the slowest filter's page and count."""
    figures = list(pages_and_counts(address, count))
    page, counted = max(one.page.p99 for one in figures), max(one.count.p99 for one in figures)
    return {"filter_page_s": page / 1000, "filter_count_s": counted / 1000}


def measured(address: DatabaseAddress, devices: int, *, told: int, filters: bool) -> dict[str, object]:
    """Return all figures of a database that is filled."""
    figures: dict[str, object] = {"devices": devices, **(filter_figures(address, devices) if filters else {})}
    manager = Manager(address)
    try:
        figures |= rollout_figures(manager, told)
        figures |= bare(manager.store)
    finally:
        manager.store.close()
    return figures | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
