"""What it costs a manager to take in windows: see benchmarks/README.md."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence

from simulators import needs

with needs.imports(__name__, "fleet"):
    import msgspec

    from benchmarks.ingest import alone
    from benchmarks.ingest.through_broker import Passed, run

GOAL = 0.6
"""Of what a bare loop of paho takes, which throws the windows away."""
_BATCHES = (100, 500, 1000)


def main() -> int:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--devices", type=int, default=100, help="through the broker")
    parser.add_argument("--windows", type=int, default=40_000, help="of all devices together, in each run")
    parser.add_argument("--known", type=int, default=1000, help="devices of the ingest alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, help="of senders")
    parser.add_argument("--qos", type=int, choices=(0, 1), default=1, help="with which the bare loop subscribes")
    parser.add_argument("--only", choices=("alone", "plain", "tls"), action="append")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    wanted = options.only or ["alone", "plain", "tls"]
    figures: dict[str, object] = {}
    if "alone" in wanted:
        figures["alone"] = _alone(options.known, quiet=options.json)
    good = True
    for way in ("plain", "tls"):
        if way not in wanted:
            continue
        runs = [
            run(
                receiver,
                tls=way == "tls",
                devices=options.devices,
                windows=options.windows,
                processes=options.processes,
            )
            for _ in range(options.rounds)
            for receiver in ("bare", "manager")
        ]
        ratios = [mine.per_s / bare.per_s for bare, mine in zip(runs[::2], runs[1::2], strict=True)]
        good = good and statistics.median(ratios) >= GOAL
        figures[way] = {"runs": runs, "ratios": ratios}
        if not options.json:
            _show(way, runs, ratios)
    if options.json:
        print(msgspec.json.encode(figures).decode())
    return 0 if good else 1


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


def _show(way: str, runs: Sequence[Passed], ratios: Sequence[float]) -> None:
    for one in runs:
        print(
            f"{way}, {one.receiver}: {one.per_s:,.0f} windows/s; us of CPU a window: "
            f"receiver {one.receiver_cpu_us:.0f}, broker {one.broker_cpu_us:.0f}, senders {one.senders_cpu_us:.0f}; "
            f"{one.again} sent again, {one.lost} lost"
        )
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"{way}: manager / bare {statistics.median(ratios):.2f} ({shown}); wanted at least {GOAL}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
