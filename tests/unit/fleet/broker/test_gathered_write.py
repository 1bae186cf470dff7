from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgemm.errors import EnvironmentFailure
from edgemm_fleet.broker.gathered_write import GatheredWrite
from simulators.waiting import eventually


def test_what_was_changed_before_a_call_is_written_when_it_returns() -> None:
    store, file, lock, writes = set[int](), set[int](), threading.Lock(), []

    def write() -> None:
        nonlocal file
        with lock:
            found = set(store)
        writes.append(len(found))
        file = found

    gathered = GatheredWrite(write)

    def enrol(number: int) -> bool:
        with lock:
            store.add(number)
        gathered.ask()
        return number in file

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(enrol, range(400)))
    assert len(writes) < 400, "several are written together"


def test_who_asks_while_a_write_runs_is_served_by_the_next_one_together() -> None:
    go = threading.Semaphore(0)
    writes: list[None] = []

    def write() -> None:
        writes.append(None)
        assert go.acquire(timeout=30)

    gathered = GatheredWrite(write)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(gathered.ask)
        eventually(lambda: writes, "the first write runs")
        others = [pool.submit(gathered.ask) for _ in range(8)]
        eventually(lambda: gathered.waiting == 8, "the others wait")
        go.release()
        first.result(30)
        assert not any(one.done() for one in others), "that write had begun before they asked"
        go.release()
        for one in others:
            one.result(30)
    assert len(writes) == 2


def test_a_failure_is_told_to_all_who_waited_for_it_and_the_next_write_is_tried() -> None:
    failing, go = [True], threading.Event()

    def write() -> None:
        assert go.wait(30)
        if failing[0]:
            raise EnvironmentFailure("disk full")

    gathered = GatheredWrite(write)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(gathered.ask) for _ in range(3)]
        eventually(lambda: gathered.waiting >= 2, "two wait for the first")
        go.set()
        for one in asked:
            with pytest.raises(EnvironmentFailure, match="disk full"):
                one.result(30)
    failing[0] = False
    gathered.ask()
