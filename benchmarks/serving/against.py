"""edgemm of this checkout against edgemm of another one, in interleaved pairs.

What else the machine does comes and goes within seconds, and slows both: so each pair loads both servers one right
after the other, by turns this one or the other one first, and a figure is the median of the pairs' ratios. Both
servers are started anew now and then, for where a process lies in memory is worth a few percent for all its life.

`ratios` and `as_text` are pure.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving import bundles, startup, wrk
from benchmarks.serving.processes import ServerProcess
from benchmarks.serving.protocols import V2_BINARY, V2_JSON, Protocol
from benchmarks.serving.servers import EDGEMM, Files, Server, Start
from benchmarks.serving.subjects import Int8
from benchmarks.serving.wrk import Load

HERE = Path(__file__).resolve().parents[2]
_PARTS = ("core", "converter", "runtime", "fleet", "demo", "")
_PROTOCOLS = (V2_BINARY, V2_JSON)
_CONNECTIONS = (1, 8)
_WARM_UP_S = 1
_MOST_P50, _LEAST_PER_S = 1.05, 0.95


@dataclass(frozen=True)
class LoadPair:
    """Loads of both servers, one right after the other."""

    here: Load
    there: Load


@dataclass(frozen=True)
class Ratios:
    """This checkout's figures ÷ the other's, of one protocol and number of connections: medians and quartiles."""

    p50: float
    p50_quartiles: tuple[float, float]
    per_s: float
    per_s_quartiles: tuple[float, float]
    pairs: int
    failed: int

    @property
    def reached(self) -> bool:
        """Whether this checkout is as quick as the other one, within 5 %."""
        return self.p50 <= _MOST_P50 and self.per_s >= _LEAST_PER_S and not self.failed


Kind = tuple[str, int]
"""The name of a protocol, and a number of connections."""


def measure(
    files: Files, checkout: Path, *, rounds: int, pairs: int, seconds: int
) -> Mapping[Kind, Sequence[LoadPair]]:
    """Load both in `rounds` starts of `pairs` pairs each.

    Raises:
        RuntimeError: a server did not start, or answered wrongly.
        ValueError: the load generator failed.
    """
    answers = bundles.expected(files.model, files.subject)
    servers = [_server(root, name) for root, name in ((HERE, "here"), (checkout.resolve(), "there"))]
    for server in servers:
        _require(server)
    found: dict[Kind, list[LoadPair]] = {}
    for number in range(1, rounds + 1):
        print(f"start {number} of {rounds}", file=sys.stderr, flush=True)
        processes = [startup.start(server.server, files) for server in servers]
        try:
            for kind, pair in _pairs(processes, files, answers, pairs=pairs, seconds=seconds):
                found.setdefault(kind, []).append(pair)
        finally:
            for process in processes:
                process.stop()
    return found


def ratios(pairs: Sequence[LoadPair]) -> Ratios:
    """Return the medians of the pairs' ratios."""
    p50s = [pair.here.p50_us / pair.there.p50_us for pair in pairs]
    per_s = [pair.here.per_s / pair.there.per_s for pair in pairs]
    return Ratios(
        p50=statistics.median(p50s),
        p50_quartiles=_quartiles(p50s),
        per_s=statistics.median(per_s),
        per_s_quartiles=_quartiles(per_s),
        pairs=len(pairs),
        failed=sum(pair.here.failed + pair.there.failed for pair in pairs),
    )


def as_text(found: Mapping[Kind, Sequence[LoadPair]]) -> str:
    """Return a table in Markdown."""
    heads = ("protocol", "connections", "p50, here ÷ there", "req/s, here ÷ there", "p50 µs here", "pairs", "verdict")
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for (protocol, connections), pairs in found.items():
        told = ratios(pairs)
        cells = (
            protocol,
            str(connections),
            _spread(told.p50, told.p50_quartiles),
            _spread(told.per_s, told.per_s_quartiles),
            f"{statistics.median(pair.here.p50_us for pair in pairs):.0f}",
            str(told.pairs),
            f"{told.failed} failed" if told.failed else "yes" if told.reached else "NO",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Wanted: p50 ≤ {_MOST_P50}, req/s ≥ {_LEAST_PER_S}; in brackets the quartiles."])


@dataclass(frozen=True)
class _Checkout:
    server: Server
    root: Path
    env: Mapping[str, str]


def _server(root: Path, name: str) -> _Checkout:
    env = {"PYTHONPATH": os.pathsep.join(str(root / part) for part in _PARTS)}

    def start(files: Files, port: int) -> Start:
        command = (sys.executable, "-m", "edgemm", "run", str(files.int8), "--port", str(port), "--quiet")
        return Start(command, env, files.folder)

    return _Checkout(Server(f"{EDGEMM}-{name}", start, _PROTOCOLS), root, env)


def _require(checkout: _Checkout) -> None:
    """Raise SystemExit if the code that runs is not the checkout's."""
    command = (sys.executable, "-c", "import edgemm_runtime; print(edgemm_runtime.__file__)")
    done = subprocess.run(command, env={**os.environ, **checkout.env}, capture_output=True, text=True, check=False)
    if not done.stdout.strip().startswith(str(checkout.root) + os.sep):
        found = done.stdout.strip() or done.stderr.strip()[-300:]
        raise SystemExit(f"expected edgemm of {checkout.root}, found {found}: give a checkout's root")


def _pairs(
    processes: Sequence[ServerProcess], files: Files, answers: Int8, *, pairs: int, seconds: int
) -> Iterator[tuple[Kind, LoadPair]]:
    for process in processes:
        startup.wait(process, V2_BINARY, files.subject, answers[0])
        for protocol in _PROTOCOLS:
            startup.check(process, protocol, files.subject, answers)
            _load(process, protocol, files, connections=8, seconds=_WARM_UP_S)
    for number, protocol, connections in itertools.product(range(pairs), _PROTOCOLS, _CONNECTIONS):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        loads = {
            which: _load(processes[which], protocol, files, connections=connections, seconds=seconds) for which in order
        }
        yield (protocol.name, connections), LoadPair(loads[0], loads[1])


def _load(process: ServerProcess, protocol: Protocol, files: Files, *, connections: int, seconds: int) -> Load:
    request = protocol.ask(files.subject.samples()[0])
    return wrk.run(process.port, request, connections=connections, seconds=seconds, folder=files.folder)


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def _spread(median: float, quartiles: tuple[float, float]) -> str:
    return f"{median:.3f} ({quartiles[0]:.3f} to {quartiles[1]:.3f})"
