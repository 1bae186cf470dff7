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
    failing, go, writes = [True], threading.Event(), list[None]()

    def write() -> None:
        writes.append(None)
        assert go.wait(30)
        if failing[0]:
            raise EnvironmentFailure("disk full")

    gathered = GatheredWrite(write)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(gathered.ask)]
        eventually(lambda: writes, "the first write runs")
        asked += [pool.submit(gathered.ask) for _ in range(2)]
        eventually(lambda: gathered.waiting == 2, "two wait for the first")
        go.set()
        for one in asked:
            with pytest.raises(EnvironmentFailure, match="disk full"):
                one.result(30)
    failing[0] = False
    gathered.ask()


def test_thousands_wait_for_a_write_without_a_thread_each() -> None:
    go, told = threading.Event(), list[EnvironmentFailure | None]()
    writes: list[None] = []

    def write() -> None:
        writes.append(None)
        assert go.wait(30)

    gathered = GatheredWrite(write)
    gathered.tell(told.append)
    eventually(lambda: writes, "the first write runs")
    threads = threading.active_count()
    for _ in range(5000):
        gathered.tell(told.append)
    assert threading.active_count() <= threads
    assert gathered.waiting == 5000
    go.set()
    eventually(lambda: len(told) == 5001, "all are told")
    assert len(writes) == 2
    assert not any(told)


def test_a_fault_in_a_write_is_told_to_those_who_wait_and_the_next_write_is_tried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing = [True]

    def write() -> None:
        if failing:
            raise LookupError("a fault of ours")

    gathered = GatheredWrite(write)
    with pytest.raises(EnvironmentFailure, match="see the log"):
        gathered.ask()
    assert "a fault of ours" in caplog.text
    failing.clear()
    told = list[EnvironmentFailure | None]()
    gathered.tell(told.append)
    eventually(lambda: told == [None], "who asks later is served")


def test_one_who_cannot_be_told_keeps_nobody_else_from_it() -> None:
    go, told = threading.Event(), list[EnvironmentFailure | None]()

    def lost(_: EnvironmentFailure | None) -> None:
        raise LookupError("its connection is gone")

    def write() -> None:
        assert go.wait(30)

    gathered = GatheredWrite(write)
    for one in (lost, told.append, lost, told.append):
        gathered.tell(one)
    go.set()
    eventually(lambda: told == [None, None], "the others are told")
    gathered.tell(told.append)
    eventually(lambda: len(told) == 3, "who asks later is served")


def test_a_machine_without_room_for_a_thread_is_told_to_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    gathered, told = GatheredWrite(lambda: None), list[EnvironmentFailure | None]()

    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", full)
        gathered.tell(told.append)
    assert "can't start new thread; try again" in str(told)
    gathered.tell(told.append)
    eventually(lambda: told[1:] == [None], "who asks later is served")
