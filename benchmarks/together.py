"""What batches of waiting requests, and several CPU threads for a lone one, are worth.

    python -m benchmarks.together FOLDER           # FOLDER holds what is made, and may be used again

MLPerf Tiny's int8 image classifier is served by processes that differ in one thing each: no batches, no interpreter of
several threads. `wrk` asks them in turn (v2, binary, and v2, JSON), over 1 and 8 connections; medians of the rounds are
printed, with the ratio to the server as it is.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "runtime"):
    from benchmarks.serving import bundles, wrk
    from benchmarks.serving.protocols import MODEL, V2_BINARY, V2_JSON
    from benchmarks.serving.subjects import CLASSIFIER
    from benchmarks.serving.wrk import Load
    from edgemm.bundle import open_bundle
    from edgemm_runtime.engines.litert import LiteRtSession
    from edgemm_runtime.http.limits import ServingLimits
    from edgemm_runtime.models.registry import ModelRegistry
    from edgemm_runtime.serving.server import ModelServer

AS_IS, NO_BATCHES, ONE_THREAD, NEITHER = "as it is", "no batches", "one thread", "neither"
WAYS: Mapping[str, tuple[bool, bool]] = {
    AS_IS: (True, True), NO_BATCHES: (False, True), ONE_THREAD: (True, False), NEITHER: (False, False),
}  # fmt: skip
"""By name: whether there are batches, and whether a lone request may take several threads."""


def main(argv: list[str] | None = None) -> int:
    """Measure and print; or be a server."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.together", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--serve", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each run")
    options = parser.parse_args(argv)
    bundle = options.folder / f"{MODEL}-int8.edgemm"
    if options.serve is not None:
        _serve(bundle, *WAYS[options.serve])
        return 0
    model = None if bundle.exists() else needs.shared_path(CLASSIFIER.file)
    needs.program("wrk")
    if model is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        bundles.make_int8(bundle, model, CLASSIFIER)
    with ExitStack() as stack:
        ports = {way: stack.enter_context(_server(options.folder, way)) for way in WAYS}
        for protocol in (V2_BINARY, V2_JSON):
            request = protocol.ask(CLASSIFIER.samples()[0])
            for connections in (1, 8):
                runs: dict[str, list[Load]] = {way: [] for way in WAYS}
                for _ in range(options.rounds):
                    for way, port in ports.items():
                        runs[way].append(
                            wrk.run(
                                port, request, connections=connections, seconds=options.seconds, folder=options.folder
                            )
                        )
                _print(f"{protocol.name}, {connections} connections", runs)
    return 0


def _print(title: str, runs: Mapping[str, list[Load]]) -> None:
    print(title)
    usual = statistics.median(load.per_s for load in runs[AS_IS])
    for way, loads in runs.items():
        per_s = statistics.median(load.per_s for load in loads)
        p50_us, p99_us = (statistics.median(getattr(load, name) for load in loads) for name in ("p50_us", "p99_us"))
        failed = sum(load.failed for load in loads)
        print(
            f"  {way:12} {per_s:8,.0f}/s ({per_s / usual:.2f} ×)  p50 {p50_us:6,.0f} µs  p99 {p99_us:6,.0f} µs"
            f"  {failed} failed"
        )


@contextmanager
def _server(folder: Path, way: str) -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.together", str(folder), "--serve", way]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.communicate()


def _serve(bundle: Path, batches: bool, several_threads: bool) -> None:  # noqa: FBT001 - a row of `WAYS`
    if not several_threads:
        LiteRtSession.widen = lambda _session, _feeds: None  # type: ignore[method-assign, assignment]  # in this process alone
    registry = ModelRegistry()
    with open_bundle(bundle) as source:
        registry.activate(MODEL, source, source.manifest.variants[0])
    limits = ServingLimits() if batches else ServingLimits(max_together=1)
    with ModelServer(registry, limits=limits) as server:
        print(server.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    sys.exit(main())
