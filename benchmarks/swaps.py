"""Models are swapped while clients ask: does a request fail or take longer, does memory grow, how many are loaded?

    python -m benchmarks.swaps                     # 100 swaps under load, 3 rounds, then 500 more and their memory
    python -m benchmarks.swaps --rounds 1 --idle-swaps 0

MLPerf Tiny's int8 image classifier lies twice in a device's folder, as versions 1 and 2. A server process of its own
reads, checks, loads and swaps them in turn as an agent does, while `wrk` asks over 8 connections (v2, binary). A round
is a steady run, one with swaps, and a steady run again; the ratio is that of the 99th percentiles of the run with swaps
and the better of the steady ones around it. Exit status 1: a request failed, or a goal is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Self

from simulators import needs

with needs.imports(__name__, "runtime"):
    import msgspec
    from msgspec import Struct
    from msgspec.structs import replace

    from benchmarks.serving import bundles, memory, wrk
    from benchmarks.serving.protocols import MODEL, V2_BINARY, Request
    from benchmarks.serving.subjects import CLASSIFIER
    from benchmarks.serving.wrk import Load
    from edgemm.bundle import open_bundle
    from edgemm.bundle.blobs import BlobFolder
    from edgemm_runtime.agent.state.documents import Installed
    from edgemm_runtime.agent.update.host import RegistryHost
    from edgemm_runtime.engines.bundle_source import StoredBundle, opened
    from edgemm_runtime.models.registry import ModelRegistry
    from edgemm_runtime.serving.server import ModelServer

_CONNECTIONS = 8
_VERSIONS = ("1.0.0", "2.0.0")
_MIB = 1024 * 1024
GOAL_RATIO, GOAL_REQUESTS, GOAL_GROWTH_MIB, GOAL_LOADED = 2.0, 100_000, 5.0, 2


class Swapped(Struct, frozen=True):
    """What one swap took, in the server; `loaded` are the models that were in memory right after it."""

    seconds: float
    loaded: int
    rss_bytes: int


class Server:
    """The serving process; `swap` has it take the other version in."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.swaps", "--serve", str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.communicate()

    def swap(self) -> Swapped:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=Swapped)


def main(argv: list[str] | None = None) -> int:
    """Measure and print; or be the server."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.swaps", description=__doc__)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--swaps", type=int, default=100, help="under load, in each round")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each run")
    parser.add_argument("--idle-swaps", type=int, default=500, help="without load, for the growth of memory")
    options = parser.parse_args(argv)
    if options.serve is not None:
        _serve(options.serve)
        return 0
    model = needs.shared_path(CLASSIFIER.file)
    needs.program("wrk")
    with tempfile.TemporaryDirectory() as name, Server(_store(Path(name), model)) as server:
        request = V2_BINARY.ask(CLASSIFIER.samples()[0])
        server.swap()
        good = [_round(server, request, options, Path(name)) for _ in range(options.rounds)]
        good.append(_grow(server, options.idle_swaps))
    return int(not all(good))


def _round(server: Server, request: Request, options: argparse.Namespace, folder: Path) -> bool:
    before = _load(server, request, options.seconds, folder)
    swaps: list[Swapped] = []
    loading = threading.Thread(target=_swap_often, args=(server, options.swaps, 0.9 * options.seconds, swaps))
    loading.start()
    during = _load(server, request, options.seconds, folder)
    loading.join()
    after = _load(server, request, options.seconds, folder)
    steady_us = min(before.p99_us, after.p99_us)  # what else runs on the machine must not make it look good
    ratio, took_ms = during.p99_us / steady_us, [swap.seconds * 1e3 for swap in swaps]
    loaded = max(swap.loaded for swap in swaps)
    failed = before.failed + during.failed + after.failed
    print(
        f"{len(swaps)} swaps in {during.requests:,} requests: {during.failed} failed; p99 {during.p99_us:,.0f} µs, "
        f"steady {before.p99_us:,.0f} and {after.p99_us:,.0f} µs: {ratio:.2f} ×; p50 {during.p50_us:,.0f}, steady "
        f"{before.p50_us:,.0f} µs; a swap took {statistics.median(took_ms):.1f} ms, at most {max(took_ms):.1f}; "
        f"at most {loaded} loaded"
    )
    return failed == 0 and ratio <= GOAL_RATIO and loaded <= GOAL_LOADED


def _grow(server: Server, count: int) -> bool:
    if count == 0:
        return True
    warm = [server.swap() for _ in range(50)][-1]
    last = [server.swap() for _ in range(count)][-1]
    grown_mib = (last.rss_bytes - warm.rss_bytes) / _MIB
    print(f"{count} swaps without load: RSS {warm.rss_bytes / _MIB:.1f} MiB {grown_mib:+.2f}")
    return grown_mib <= GOAL_GROWTH_MIB


def _load(server: Server, request: Request, seconds: float, folder: Path) -> Load:
    return wrk.run(server.port, request, connections=_CONNECTIONS, seconds=seconds, folder=folder)


def _swap_often(server: Server, count: int, seconds: float, into: list[Swapped]) -> None:
    begun, pause = time.monotonic(), threading.Event()
    for number in range(count):
        pause.wait(max(0.0, begun + (number + 1) * seconds / count - time.monotonic()))
        into.append(server.swap())


def _store(folder: Path, model: Path) -> Path:
    """Lay both versions out as a device does; return the folder."""
    blobs, path = BlobFolder(folder / "blobs"), bundles.make_int8(folder / "bundle", model, CLASSIFIER)
    with open_bundle(path) as bundle:
        for digest in bundle.manifest.blobs:
            blobs.write(digest, bundle.chunks(digest))
        for version in _VERSIONS:
            (folder / f"{version}.json").write_bytes(replace(bundle.manifest, version=version).encode())
    return folder


def _serve(folder: Path) -> None:
    """Be the server: swap at each line on stdin, and tell what that took."""
    registry = ModelRegistry()
    host, number = RegistryHost(registry), 0
    _swap(host, folder, _VERSIONS[1])
    with ModelServer(registry) as server:
        print(server.port, flush=True)
        for _ in sys.stdin:
            begun = time.perf_counter()
            _swap(host, folder, _VERSIONS[number % 2])
            took_s, number = time.perf_counter() - begun, number + 1
            swapped = Swapped(took_s, len(registry.in_use()), memory.of([os.getpid()]).rss_bytes)
            sys.stdout.buffer.write(msgspec.json.encode(swapped) + b"\n")
            sys.stdout.buffer.flush()


def _swap(host: RegistryHost, folder: Path, version: str) -> None:
    stored = StoredBundle(folder / f"{version}.json", folder / "blobs")
    with opened(stored) as source:
        variant = source.manifest.variants[0].id
        host.activate(MODEL, Installed(digest=source.digest, version=version, variant=variant), source)


if __name__ == "__main__":
    sys.exit(main())
