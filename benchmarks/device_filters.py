"""Filters over many devices: `python -m benchmarks.device_filters [--devices N] [--database FILE] [--json]`.

Makes a database of N devices in SQLite (or takes one that it made before), and asks each filter for pages of 100, from
the start and from places in the middle, and for its count: through the store's own functions, as the API does, reading
the devices of a page. Beside them stands a bare `sqlite3` query of the simplest filter, its page and its count, in the
same run. Then one device changes against dynamic filters, by closures and an index, without SQL. Times are in ms.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from simulators import needs

with needs.imports(__name__, "fleet"):
    from edgemm_fleet.filters import DeviceFacts, Expression, compiled, parse
    from edgemm_fleet.filters.closures import FactKey, Matcher
    from edgemm_fleet.filters.expressions import FactSubject
    from edgemm_fleet.filters.filter_index import FilterIndex
    from edgemm_fleet.filters.ranks import rank
    from edgemm_fleet.store import Store, devices
    from edgemm_fleet.store.facts.fact_queries import FactQuery

Found = TypeVar("Found")
NOW = 1_800_000_000.0
SIMPLEST = "site=plant-7"
FILTERS = (
    SIMPLEST,
    "(site=plant-1 or site=plant-2 or site=plant-3) (hw=pi4 or hw=pi5)",
    "site^=plant-1 label:canary",
    "ring=stable",
    "ring=stable hw!=pi5",
    "model:digits version<1.2",
    "model:digits state:failed not label:canary",
    "online not label:canary",
    "seen>1h",
    "seen>1h ring=stable",
    "id^=cam-00012",
    "engine>=tflite@2.1 arch:aarch64",
    "hw=pi3 hw=pi4",
    "not label:canary",
    "model:digits site=plant-7 version<1.2 state:failed seen>1h id^=cam- not label:canary engine>=tflite@2.1",
)
_RINGS = ["stable"] * 90 + ["beta"] * 9 + ["alpha"]
_HARDWARE = ("pi3", "pi4", "pi4", "pi5", "box")
_VERSIONS = ["1.3.0"] * 70 + ["1.2.0"] * 20 + ["1.1.0"] * 8 + ["1.0.0-rc.2"] * 2
_STATES = ["committed"] * 98 + ["failed", "downloading"]
_ENGINES = ["2.14.0"] * 95 + ["2.0.1"] * 5
_AT_ONCE = 20_000
_DYNAMIC = 1000
_CHANGES = 2000
_PAGES = 40
_COUNTS = 20
_PAGE = 100


@dataclass(frozen=True)
class Times:
    """Of several runs, in ms; `cpu_p99` is of this process alone, whatever else the machine does."""

    p50: float
    p99: float
    cpu_p99: float


@dataclass(frozen=True)
class Figures:
    """Times of one filter, and how many devices it means."""

    filter: str
    matching: int
    page: Times
    count: Times


def random_device(number: int, chance: random.Random) -> DeviceFacts:
    """Return a device: four labels, sometimes a fifth, one model, one engine, its machine."""
    values: dict[FactKey, tuple[str, ...]] = {
        (FactSubject.LABEL, "site"): (f"plant-{chance.randrange(200)}",),
        (FactSubject.LABEL, "hw"): (chance.choice(_HARDWARE),),
        (FactSubject.LABEL, "ring"): (chance.choice(_RINGS),),
        (FactSubject.LABEL, "rack"): (str(chance.randrange(5000)),),
        (FactSubject.VERSION, "digits"): (chance.choice(_VERSIONS),),
        (FactSubject.STATE, "digits"): (chance.choice(_STATES),),
        (FactSubject.ENGINE, "tflite"): (chance.choice(_ENGINES),),
        (FactSubject.RUNTIME, ""): ("0.2.0",),
        (FactSubject.ARCH, ""): ("aarch64",),
        (FactSubject.OS, ""): ("linux",),
    }
    if chance.random() < 0.02:
        values[FactSubject.LABEL, "canary"] = ("yes",)
    ago = chance.expovariate(1 / 1800)
    return DeviceFacts(id=f"cam-{number:07}", online=chance.random() < 0.9, seen_at=NOW - ago, values=values)


def fill(path: Path, count: int) -> None:
    """Make a database of so many devices."""
    Store.open(path).close()
    chance, numbers = random.Random(1), dict[tuple[str, str, str], int]()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA synchronous = OFF")
        for start in range(0, count, _AT_ONCE):
            rows: list[tuple[object, ...]] = []
            pairs: list[tuple[int, str]] = []
            for number in range(start, min(count, start + _AT_ONCE)):
                device = random_device(number, chance)
                labels = {name: found[0] for (subject, name), found in device.values.items() if subject == "label"}
                key = json.dumps(
                    {"keyid": f"{number:064x}", "keyval": {"public": f"{number:064x}"}, "scheme": "ed25519"}
                )
                rows.append((device.id, json.dumps(labels), key, f"{number:064x}", device.online, device.seen_at))
                facts = [(*key, value) for key, found in device.values.items() for value in found]
                pairs.extend((numbers.setdefault(fact, len(numbers) + 1), device.id) for fact in facts)
            database.executemany(
                "INSERT INTO devices (id, name, labels_json, key_json, key_id, token_id, bearer_hash, broker_hash, "
                "runtime, platform, enrolled_at, online, last_seen_at, boot_count, connection, previous_connection) "
                "VALUES (?1, ?1, ?2, ?3, ?4, 't', ?4, ?4, '0.2.0', 'Linux-6.1-aarch64', 1.0, ?5, ?6, 1, 1, 0)",
                rows,
            )
            database.executemany("INSERT INTO device_facts VALUES (?, ?)", sorted(pairs))
            database.commit()
        known = [(number, *fact, rank(fact[2])) for fact, number in numbers.items()]
        database.executemany("INSERT INTO facts (fact, subject, name, value, rank) VALUES (?, ?, ?, ?, ?)", known)
        database.commit()


def pages_and_counts(path: Path, count: int) -> Iterator[Figures]:
    """Yield the times of each filter."""
    store, chance = Store.open(path), random.Random(2)
    for text in FILTERS:
        read = parse(text)
        places = [f"cam-{chance.randrange(count):07}" if turn % 2 else None for turn in range(_PAGES)]
        page, _ = timed(*(partial(_page, store, read, after) for after in places))
        counted, matching = timed(*[partial(_count, store, read)] * _COUNTS)
        yield Figures(text, matching, page, counted)
    store.close()


def bare(path: Path) -> Figures:
    """Return the times of the simplest filter by hand-written SQL, without SQLAlchemy and records."""
    with closing(sqlite3.connect(path)) as database:
        key = "SELECT fact FROM facts WHERE subject = 'label' AND name = 'site' AND value = 'plant-7'"
        joined = "SELECT d.* FROM device_facts f JOIN devices d ON d.id = f.device"
        page = f"{joined} WHERE f.fact = ({key}) ORDER BY f.device LIMIT 100"
        count = f"SELECT count(*) FROM device_facts WHERE fact = ({key})"
        found, _ = timed(*[lambda: database.execute(page).fetchall()] * _PAGES)
        counted, (number,) = timed(*[lambda: database.execute(count).fetchone()] * _COUNTS)
    return Figures("bare SQL: " + SIMPLEST, number, found, counted)


def dynamic() -> dict[str, Times]:
    """Return the times of a device's change against many filters: asked one by one, and by the index."""
    chance = random.Random(3)
    texts = [
        chance.choice(
            [
                f"site=plant-{chance.randrange(200)} not label:canary",
                f"rack={chance.randrange(5000)} model:digits version<1.{chance.randrange(4)}",
                f"hw={chance.choice(_HARDWARE)} seen>{chance.randrange(1, 9)}h",
                f"model:digits state:failed site^=plant-{chance.randrange(20)}",
                f"(site=plant-{chance.randrange(200)} or site=plant-{chance.randrange(200)}) online",
            ]
        )
        for _ in range(_DYNAMIC)
    ]
    read = {number: parse(text) for number, text in enumerate(texts)}
    matchers, index = [compiled(one) for one in read.values()], FilterIndex(read)
    changed = [random_device(number, chance) for number in range(_CHANGES)]
    one_by_one, _ = timed(*(partial(_asked, matchers, one) for one in changed))
    indexed, _ = timed(*(partial(index.meaning, one, now=NOW) for one in changed))
    return {"one by one": one_by_one, "by the index": indexed}


def _asked(matchers: Sequence[Matcher], device: DeviceFacts) -> list[bool]:
    return [match(device, NOW) for match in matchers]


def _page(store: Store, read: Expression, after: str | None) -> None:
    with store.read() as tx:
        devices.page_matching(tx, FactQuery(tx, read, now=NOW), after=after, limit=_PAGE)


def _count(store: Store, read: Expression) -> int:
    with store.read() as tx:
        return FactQuery(tx, read, now=NOW).count()


def timed(*runs: Callable[[], Found]) -> tuple[Times, Found]:
    """Return how long runs took, and what came of the last; of fewer than 100, the 99th percentile is the longest."""
    walls, cpus = [], []
    for run in runs:
        start, started = time.perf_counter(), time.process_time()
        found = run()
        walls.append((time.perf_counter() - start) * 1000)
        cpus.append((time.process_time() - started) * 1000)
    walls, cpus, last = sorted(walls), sorted(cpus), min(len(runs) - 1, int(len(runs) * 0.99))
    return Times(walls[len(runs) // 2], walls[last], cpus[last]), found


def main() -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--database", type=Path, help="where it is kept, and taken from; default: a temporary folder")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = asked.database or Path(folder) / "fleet.db"
        if not path.exists():
            fill(path, asked.devices)
        figures = [bare(path), *pages_and_counts(path, asked.devices)]
        size = path.stat().st_size
    changes = dynamic()
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if asked.json:
        found: dict[str, object] = {"devices": asked.devices, "database_bytes": size, "peak_mib": peak_mib}
        found["change_against_filters"] = {name: asdict(times) for name, times in changes.items()}
        print(json.dumps(found | {"filters": [asdict(one) for one in figures]}, indent=2))
        return
    print(f"{asked.devices:,} devices, {size / 2**20:,.0f} MiB; ms (CPU: of this process)")
    print(
        f"{'matching':>9} {'page p50':>8} {'p99':>8} {'CPU p99':>8} {'count p50':>10} {'p99':>8} {'CPU p99':>8}  filter"
    )
    for one in figures:
        times = " ".join(
            f"{t.p50:{width}.1f} {t.p99:8.1f} {t.cpu_p99:8.1f}" for t, width in ((one.page, 8), (one.count, 10))
        )
        print(f"{one.matching:9,} {times}  {one.filter}")
    for name, t in changes.items():
        print(f"a device's change against {_DYNAMIC:,} filters, {name}: {t.p50:.3f} {t.p99:.3f} {t.cpu_p99:.3f}")


if __name__ == "__main__":
    main()
