"""The fleet's store at many devices: `python -m benchmarks.fleet_store [--devices N] [--db URL] [--database FILE]`.

Makes a database of N devices (or takes one that it made before), and carries a rollout to all of them through the
manager's own preparer, runner, ingest and outbox, with a broker that takes everything and carries nothing:

* `prepare_s`: the choice of all members, and of one device among all (`prepare_one_s`);
* `start_s`: from the change that starts the prepared group to the first message of a hand-out, beside the transaction;
* `hand_out_rate`: messages a second while it hands out, signing in it;
* `halt_s`: from the report that crosses the threshold, given to the ingest, to the last message of a hand-out;
* `retract_first_s`, `retract_last_s`, `retract_rate`: from that report to the first message that takes the version back
  and to the last, and how many a second; `retracted` in all, without the first device, which failed;
* `halt_settled_s`: from that report until nothing is to be done any more, those that were never told among it;
* `longest_write_s`: the longest that a transaction held the writer in all of that, to the end of its commit, and
  `longest_write_cpu_s`: the most CPU that one took, whatever else the machine does; `write_p99_s` of all;
* `writes_of`: the same for each kind of write, with the longest of its commits, by how long the longest took;
* `filter_page_s`, `filter_count_s`: the slowest filter of `benchmarks.device_filters`, 99th percentile;
* `bare_*`: the same by hand-written SQL in the same run: one `INSERT … SELECT` of all members, one change of a row, and
  the noting of 500 devices as told, `bare_longest_s` of 200 times: what the machine itself needs at times.

Times are in seconds. With `--db` a database of PostgreSQL, which is empty at first.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "fleet"):
    from benchmarks.device_filters import fill
    from benchmarks.fleet_store.figures import measured
    from edgemm_fleet.store.dialects.database_address import DatabaseAddress, PostgresAddress
    from edgemm_fleet.store.transfer import has_no_tables, move_fleet


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
        os.sync()  # else the first commits wait until all that was filled in is on the disk
        told = asked.told or max(1, min(5000, asked.devices // 4))
        figures = measured(address, asked.devices, told=told, filters=not asked.no_filters)
    if asked.json:
        print(json.dumps(figures, indent=2))
        return
    for name, value in figures.items():
        print(f"{name:20} {value:.4f}" if isinstance(value, float) else f"{name:20} {value}")


if __name__ == "__main__":
    main()
