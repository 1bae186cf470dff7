"""`python -m benchmarks.zoo`: the zoo through edgemm and through the routes of today, and one table of how it went."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "converter"):
    from benchmarks.zoo.models import FAMILIES, NAMES, keys
    from benchmarks.zoo.runner import ROUTES, Limits, Result, attempt, done, keep

_STATUSES = ("pass", "refused as declared", "wrong output", "fails to run", "fails to convert", "cannot be built")


def main() -> None:
    """Parse, run what is not done yet, print the table."""
    given = _parse()
    needs.packages("keras", "tensorflow", extras="converter")
    given.results.mkdir(parents=True, exist_ok=True)
    path = given.results / "results.jsonl"
    latest = {(r.key, r.route, r.target): r for r in done(path)}
    failed = {(r.key, r.route) for r in latest.values() if r.status not in _STATUSES[:2]}
    have = {(r.key, r.route) for r in latest.values()} - (failed if given.again else set())
    chosen = [k for k in keys(given.family) if not given.model or k.split("/")[1] in given.model]
    if any(key.startswith("B/") for key in chosen):
        needs.shared_path("models/mlperf-tiny")
    todo = {key: routes for key in chosen if (routes := [r for r in given.route if (key, r) not in have])}
    limits = Limits(timeout_s=given.timeout, memory_bytes=int(given.memory * 2**30))
    with ThreadPoolExecutor(given.jobs) as pool:
        running = [pool.submit(attempt, key, routes, limits=limits) for key, routes in todo.items()]
        for number, future in enumerate(as_completed(running), start=1):
            results = future.result()
            keep(path, results)
            for r in results:
                print(f"[{number}/{len(todo)}] {_line(r)}", file=sys.stderr, flush=True)
    latest = {(r.key, r.route, r.target): r for r in done(path) if r.key in chosen and r.route in given.route}
    print(table(list(latest.values())))


def table(results: list[Result]) -> str:
    """Return the table: a line for each route, target and family, then what did not pass."""
    lines = ["route       target  family " + " ".join(f"{s:>19}" for s in _STATUSES) + "   seconds  peak GiB"]
    groups = sorted({(r.route, r.target) for r in results}, key=lambda g: (list(ROUTES).index(g[0]), g[1]))
    for route, target in groups:
        mine = [r for r in results if (r.route, r.target) == (route, target)]
        for family in [*sorted({r.key[0] for r in mine}), "all"]:
            rows = [r for r in mine if family in (r.key[0], "all")]
            counts = Counter(r.status for r in rows)
            figures = " ".join(f"{counts[s]:>19}" for s in _STATUSES)
            seconds, peak = sum(r.seconds for r in rows), max(r.peak_bytes for r in rows) / 2**30
            lines.append(f"{route:<11} {target:<7} {family:<6} {figures} {seconds:>9.0f} {peak:>9.1f}")
    lines += ["", *(_line(r) for r in sorted(results, key=lambda r: (r.route, r.key)) if r.status != "pass")]
    return "\n".join(lines)


def _line(result: Result) -> str:
    return (
        f"{result.route} {result.target} {result.key}: {result.status} ({result.seconds:.0f} s, "
        f"{result.peak_bytes / 2**30:.1f} GiB) {result.detail if result.status != 'pass' else f'{result.error:.1g}'}"
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    parser.add_argument("--route", action="append", choices=list(ROUTES), help="repeatable; all by default")
    parser.add_argument("--family", default="".join(FAMILIES), help="letters of families, for example BCF")
    parser.add_argument("--model", action="append", choices=[n for names in NAMES.values() for n in names])
    parser.add_argument("--results", type=Path, default=Path("zoo-results"), help="a folder; a run goes on from it")
    parser.add_argument("--again", action="store_true", help="try again what did not pass")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time, as memory and cores allow")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds for one process")
    parser.add_argument("--memory", type=float, default=8.0, help="GiB for one process")
    given = parser.parse_args()
    given.route = given.route or list(ROUTES)
    return given


if __name__ == "__main__":
    main()
