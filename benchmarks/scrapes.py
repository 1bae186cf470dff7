"""What `/metrics` costs: `python -m benchmarks.scrapes [--devices N] [--database FILE] [--json]`.

Makes a database of N devices in SQLite (or takes one that `benchmarks.device_filters` or this made before), of which
one in a hundred is still to be told something and one in fifty refuses what it is told. Each scrape is made by the
functions that the route calls, without HTTP: with the database asked for its counts anew, as every few seconds, and
with those of a moment ago. Times are in ms.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

from simulators import needs

with needs.imports(__name__, "fleet"):
    from benchmarks.device_filters import Times, fill, timed
    from edgemm_fleet.api import prometheus
    from edgemm_fleet.health import vitals
    from edgemm_fleet.health.hearing import Hearing
    from edgemm_fleet.store import Store

_RUNS = 40
_TOLD = """INSERT OR IGNORE INTO desired (device, generation, desired_json, expires_at, unsent, refusal_json, tries)
SELECT id, 1, :text, 9e9, abs(random()) % 100 = 0, CASE WHEN abs(random()) % 50 = 0 THEN '{}' END, 0 FROM devices"""
_A_DESIRED = json.dumps({"models": [{"name": "digits", "version": "1.3.0", "digest": "0" * 64}], "pad": "x" * 500})


@dataclass(frozen=True)
class Scrapes:
    """What scrapes of one fleet cost."""

    devices: int
    lines: int
    bytes: int
    asked: Times
    """With the counts asked anew."""
    kept: Times


def tell(path: Path) -> None:
    """Give every device something that it is told."""
    Store.open(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute(_TOLD, {"text": _A_DESIRED})
        database.commit()


def measure(path: Path) -> Scrapes:
    """Scrape a database over and over."""
    store = Store.open(path)
    signs = vitals.Vitals(store, Hearing(), path.parent)
    scrape = partial(_scrape, signs)
    scrape()
    kept, text = timed(*[scrape] * _RUNS)
    with patch.object(vitals, "COUNTED_EVERY_S", 0.0):
        asked, _ = timed(*[scrape] * _RUNS)
    found = Scrapes(store.census.devices, text.count(b"\n"), len(text), asked, kept)
    store.close()
    return found


def _scrape(signs: vitals.Vitals) -> bytes:
    facts = signs.facts(now=0.0)
    return prometheus.expose(prometheus.Exposed("bench", facts, signs.hearing, signs.writes()))


def main() -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--database", type=Path, help="where it is kept, and taken from; default: a temporary folder")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = given.database or Path(folder) / "fleet.db"
        if not path.exists():
            fill(path, given.devices)
        tell(path)
        found = measure(path)
    if given.json:
        print(json.dumps(asdict(found), indent=2))
        return
    print(f"{found.devices:,} devices: {found.lines} lines, {found.bytes:,} bytes")
    for name, times in (("counts asked anew", found.asked), ("counts of a moment ago", found.kept)):
        print(f"{name:<24} p50 {times.p50:.1f} ms, p99 {times.p99:.1f} ms, CPU p99 {times.cpu_p99:.1f} ms")


if __name__ == "__main__":
    main()
