"""The fleet's store at many devices: `python -m benchmarks.fleet_store [--devices N] [--db URL] [--database FILE]`.

Makes a database of N devices (or takes one that it made before), and carries a rollout to all of them through the
manager's own preparer, runner, ingest and outbox, with a broker that takes everything and carries nothing:

* `prepare_s`: the choice of all members, and of one device among all (`prepare_one_s`);
* `start_s`: from the change that starts the prepared group to the first message of a hand-out, beside the transaction;
* `hand_out_rate`: messages a second while it hands out, signing in it;
* `halt_s`: from the report that crosses the threshold, given to the ingest, to the last message of a hand-out;
* `retract_first_s`, `retract_rate`: from that report to the first message that takes the version back, and how many
  a second; `retracted` in all;
* `longest_write_s`: the longest that a transaction held the writer in all of that, to the end of its commit, and
  `longest_write_cpu_s`: the most CPU that one took, whatever else the machine does; `write_p99_s` of all;
* `filter_page_s`, `filter_count_s`: the slowest filter of `benchmarks.device_filters`, 99th percentile;
* `bare_*`: the same by hand-written SQL in the same run: one `INSERT … SELECT` of all members, one change of a row, and
  the noting of 500 devices as told.

Times are in seconds. With `--db` a database of PostgreSQL, which is empty at first.
"""

from __future__ import annotations

import argparse
import inspect
import json
import queue
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simulators import needs

with needs.imports(__name__, "fleet"):
    from securesystemslib.signer import CryptoSigner

    from benchmarks.device_filters import fill, pages_and_counts
    from edgemm_fleet.broker.broker_connection import Receipt
    from edgemm_fleet.director.director import Director
    from edgemm_fleet.director.outbox import Outbox
    from edgemm_fleet.ingest.batch import Ingest
    from edgemm_fleet.ingest.reading import Incoming
    from edgemm_fleet.records.progress import Rollout
    from edgemm_fleet.records.rollout_plan import Group, RolloutPlan
    from edgemm_fleet.rollout.hand_outs import HandOuts
    from edgemm_fleet.rollout.operations import RolloutOperations
    from edgemm_fleet.rollout.preparer import Preparer
    from edgemm_fleet.rollout.runner import Runner
    from edgemm_fleet.store import Store, Transaction, rollouts
    from edgemm_fleet.store.dialects.database_address import DatabaseAddress, PostgresAddress
    from edgemm_fleet.store.transfer import has_no_tables, move_fleet
    from simulators.broker import FLEET, MODEL, digest_of, enrol, publish
    from simulators.device import Outcome, SimulatedDevice
    from simulators.waiting import eventually

FIRST = "a-first"
"""The device that is told first, and whose report crosses the threshold."""
PATIENCE_S = 3600.0
_OURS = ("contextlib.py", Path(__file__).name)


class TimedStore(Store):
    """A store that notes how long each transaction held the writer, from its begin to the end of its commit."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.held: list[tuple[float, str]] = []
        self.cpu: list[tuple[float, str]] = []

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Open the one writing transaction."""
        frame = inspect.currentframe()
        while frame is not None and Path(frame.f_code.co_filename).name in _OURS:
            frame = frame.f_back
        with super().write() as tx:
            start, started = time.perf_counter(), time.thread_time()
            yield tx
        name = frame.f_code.co_qualname if frame is not None else ""
        self.held.append((time.perf_counter() - start, name))
        self.cpu.append((time.thread_time() - started, name))


class DeafBroker:
    """A connection to a broker that takes everything at once, and carries nothing."""

    def __init__(self) -> None:
        self.connected, self.connection = True, 1
        self.delivered: queue.SimpleQueue[Receipt] = queue.SimpleQueue()
        self.on_change: Callable[[], None] = lambda: None
        self.told: dict[str, float] = {}
        """Device → when it was told first."""
        self.told_else: dict[str, float] = {}
        """Device → when it was told something else."""
        self.first: tuple[str, bytes] | None = None
        """What the first device was told."""
        self._number = 0

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> Receipt:  # noqa: ARG002 - as the line has it
        """Note what is told."""
        device, now = topic.rsplit("/", 2)[1], time.perf_counter()
        if device == FIRST and self.first is None:
            self.first = (topic, payload)
        (self.told if device not in self.told else self.told_else)[device] = now
        self._number += 1
        receipt = Receipt(1, self._number)
        self.delivered.put(receipt)
        self.on_change()
        return receipt

    def forget(self) -> None:
        """Begin anew."""
        self.told.clear()
        self.told_else.clear()
        self.first = None


class Manager:
    """The parts of a manager that carry rollouts, on a database."""

    def __init__(self, address: DatabaseAddress) -> None:
        self.store = TimedStore.open(address)
        signer = CryptoSigner.generate_ed25519()
        director = Director(FLEET, signer)
        self.runner = Runner(director)
        self.broker = DeafBroker()
        link: Any = self.broker
        hand_outs = HandOuts(self.store, self.runner)
        self.outbox = Outbox(self.store, director=director, link=link, hand_outs=hand_outs, clock=time.time)
        self.ingest = Ingest(self.store, fleet=FLEET, director=director, runner=self.runner)
        self.operations = RolloutOperations(self.store, self.runner, wake=self.outbox.wake)
        self.preparer = Preparer(self.store, self.runner, clock=time.time, wake=self.outbox.wake)
        key = CryptoSigner.generate_ed25519()
        self.device = SimulatedDevice(
            FLEET, FIRST, signer=key, director=[signer.public_key], default=Outcome.SELFTEST_FAILED, now=time.time()
        )
        with self.store.write() as tx:
            publish(tx, "1.0.0", "2.0.0")
            enrol(tx, FIRST, key, labels={})
        self._hear(self.device.connect())

    def begin(self, version: str, group: Group) -> str:
        """Draft and start a rollout."""
        plan = RolloutPlan(model=MODEL, version=version, digest=digest_of(version), groups=(group,))
        rollout = self.operations.create(plan, actor="benchmark", now=time.time()).id
        self.operations.start(rollout, actor="benchmark", now=time.time())
        return rollout

    def prepare(self, rollout: str) -> float:
        """Prepare the group of a rollout; return when the change that started it began."""
        while self.rollout(rollout).groups[0].started_at is None:
            began = time.perf_counter()
            assert self.preparer.step(now=time.time()), "nothing to prepare"
            time.sleep(0.001)
        return began

    def cross(self) -> None:
        """Have the first device report that the version failed there."""
        assert self.broker.first is not None
        self._hear(self.device.receive(*self.broker.first))

    def rollout(self, rollout: str) -> Rollout:
        """Return a rollout as it is stored."""
        with self.store.read() as tx:
            return rollouts.get(tx, rollout)

    def _hear(self, said: list[Any]) -> None:
        self.ingest.process([Incoming(one.topic, one.payload) for one in said], now=time.time())
        self.outbox.wake()


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
        eventually(lambda: len(broker.told_else) >= len(broker.told) - 1, "all is taken back", timeout_s=PATIENCE_S)
        last, back = max(broker.told.values()), sorted(broker.told_else.values())
        found |= {"told": len(broker.told), "halt_s": max(0.0, last - crossed), "retracted": len(back)}
        found |= {"retract_first_s": back[0] - crossed, "retract_rate": len(back) / max(1e-9, back[-1] - back[0])}
        eventually(lambda: manager.rollout(all_of_them).taken_back is None, "it is over", timeout_s=PATIENCE_S)
        found["halt_settled_s"] = time.perf_counter() - crossed
    finally:
        manager.outbox.stop()
    longest = sorted(manager.store.held, reverse=True)
    found |= {"longest_write_s": longest[0][0], "longest_writes": longest[:5], "writes": len(longest)}
    found |= {"write_p99_s": longest[len(longest) // 100][0], "longest_write_cpu_s": max(manager.store.cpu)[0]}
    return found


def bare(store: Store) -> dict[str, float]:
    """Return the times of the same by hand-written SQL."""
    steps = {
        "bare_prepare_s": "INSERT INTO bare SELECT id, 0 FROM devices",
        "bare_row_s": "UPDATE bare SET told = 1 WHERE device = 'a-first'",
        "bare_500_told_s": "UPDATE bare SET told = 1 WHERE device IN (SELECT device FROM bare LIMIT 500)",
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
    finally:
        with store.write() as tx:
            tx.exec_driver_sql("DROP TABLE bare")
    return times


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


def main() -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--db", type=PostgresAddress.parse, help="a database of PostgreSQL, empty or of such a run")
    parser.add_argument("--database", type=Path, help="a file of SQLite, kept, and used up; default: a temporary one")
    parser.add_argument("--told", type=int, help="devices told before the halt; default: a quarter, 5,000 at most")
    parser.add_argument("--no-filters", action="store_true", help="leave the filters out")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path: Path = asked.database or Path(folder) / "fleet.db"
        address: DatabaseAddress = asked.db or path
        if asked.db is None and not path.exists():
            fill(path, asked.devices)
        elif asked.db is not None and has_no_tables(asked.db):
            fill(path, asked.devices)
            move_fleet(path, asked.db, told=lambda *_: None)
        told = asked.told or max(1, min(5000, asked.devices // 4))
        figures = measured(address, asked.devices, told=told, filters=not asked.no_filters)
    if asked.json:
        print(json.dumps(figures, indent=2))
        return
    for name, value in figures.items():
        print(f"{name:20} {value:.4f}" if isinstance(value, float) else f"{name:20} {value}")


if __name__ == "__main__":
    main()
