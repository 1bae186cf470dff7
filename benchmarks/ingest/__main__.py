"""What it costs a manager to take in windows, and how many a second, beside a loop that throws them away.

See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence

from simulators import needs

with needs.imports(__name__, "fleet"):
    import msgspec

    from benchmarks.ingest import alone
    from benchmarks.ingest.through_broker import BARE, POSTGRESQL, SQLITE, Passed, Traffic, run

GOAL = 0.6
"""Of what a bare loop of paho takes, which throws the windows away."""
_BATCHES = (100, 500, 1000)
_WAYS = ("plain", "tls")


def main() -> int:
    """Measure as the command line says."""
    options = _options()
    wanted = options.only or ["alone", *_WAYS]
    figures: dict[str, object] = {"load": os.getloadavg()}
    if "alone" in wanted:
        figures["alone"] = _alone(options.known, quiet=options.json)
    ratios: list[list[float]] = []
    for way in _WAYS:
        if way in wanted:
            traffic = Traffic(options.devices, options.windows, way == "tls", options.processes, options.qos)
            runs, of_managers = _compare(
                traffic, options.db or [SQLITE, POSTGRESQL], options.rounds, quiet=options.json
            )
            figures[way] = {"runs": runs, "ratios": of_managers}
            ratios += of_managers.values()
    if options.json:
        print(msgspec.json.encode(figures).decode())
    return 0 if all(statistics.median(one) >= GOAL for one in ratios) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--devices", type=int, default=100, help="through the broker")
    parser.add_argument("--windows", type=int, default=80_000, help="of all devices together, in each run")
    parser.add_argument("--known", type=int, default=1000, help="devices of the ingest alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, help="of senders")
    parser.add_argument(
        "--qos", type=int, choices=(0, 1), default=0, help="with which the bare loop subscribes; the manager's is 0"
    )
    parser.add_argument("--only", choices=("alone", *_WAYS), action="append")
    parser.add_argument("--db", choices=(SQLITE, POSTGRESQL), action="append", help="of the manager")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _alone(known: int, *, quiet: bool) -> list[alone.Alone]:
    found = [alone.measure(size, devices=known, batches=max(5, 10_000 // size)) for size in _BATCHES]
    if not quiet:
        for one in found:
            print(
                f"alone, batches of {one.batch}: {one.cpu_us:.0f} us of CPU a window, {one.wall_us:.0f} us of wall, "
                f"{one.acks:.2f} acknowledgements a window",
                flush=True,
            )
    return found


def _compare(
    traffic: Traffic, databases: Sequence[str], rounds: int, *, quiet: bool
) -> tuple[list[Passed], dict[str, list[float]]]:
    """Run the loop and the managers in turn; return the runs, and of each database the ratios to the loop's rounds."""
    runs, ratios = [], {database: list[float]() for database in databases}
    for _ in range(rounds):
        bare, *managers = (run(receiver, traffic) for receiver in (BARE, *databases))
        runs += [bare, *managers]
        for one in managers:
            ratios[one.receiver].append(one.per_s / bare.per_s)
        if not quiet:
            _show([bare, *managers])
    if not quiet:
        for database, found in ratios.items():
            shown = ", ".join(f"{ratio:.2f}" for ratio in found)
            way = "tls" if traffic.tls else "plain"
            print(f"{way}, {database}: manager / bare {statistics.median(found):.2f} ({shown}); wanted {GOAL}")
    return runs, ratios


def _show(runs: Sequence[Passed]) -> None:
    for one in runs:
        print(
            f"{'tls' if one.tls else 'plain'}, {one.receiver}: {one.per_s:,.0f} windows/s, {one.receiver_busy:.0%} of "
            f"a core; us of CPU a window: receiver {one.receiver_cpu_us:.1f}, database {one.database_cpu_us:.1f}, "
            f"broker {one.broker_cpu_us:.1f}, senders {one.senders_cpu_us:.1f}; {one.again} sent again; load "
            f"{os.getloadavg()[0]:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
