"""What the runs say: medians over rounds, ratios to MLServer and to the limit, and the goals. Pure.

A ratio to MLServer is the median of the rounds' ratios: what else the machine does comes and goes, and slows both down.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from benchmarks.serving.memory import MIB, Memory
from benchmarks.serving.subjects import Wanted
from benchmarks.serving.wrk import Load


class Round(msgspec.Struct, frozen=True):
    """One server and protocol in one round."""

    loads: dict[int, Load]
    """By the number of connections; of 1 and of 8 always."""
    cold_start_s: float
    memory: Memory


class Row(msgspec.Struct, frozen=True):
    """One server and protocol: medians of its rounds, and of all requests those that failed."""

    server: str
    protocol: str
    p50_us: float
    p99_us: float
    per_s_1: float
    per_s_8: float
    p99_us_8: float
    pss_mib: float
    rss_mib: float
    cold_start_s: float
    requests: int
    failed: int
    p50s_us: tuple[float, ...]
    """Of each round, as the next one."""
    per_s_8s: tuple[float, ...]
    by_connections: tuple[tuple[int, float, float, float], ...] = ()
    """Number of connections, requests a second, p50 and p99 in µs."""


class Local(msgspec.Struct, frozen=True):
    """Without a server, for one signature: medians of the rounds."""

    signature: str
    bare_us: float
    predict_us: float
    over_us: float
    start_s: float
    pss_mib: float
    rss_mib: float


@dataclass(frozen=True)
class Goal:
    """A figure that is to be at least, or at most, `wanted`."""

    what: str
    found: float
    wanted: float
    at_least: bool

    @property
    def reached(self) -> bool:
        """Whether it is."""
        return self.found >= self.wanted if self.at_least else self.found <= self.wanted

    @property
    def ratio(self) -> float:
        """By how much it is reached: 1 is just so, more is better."""
        return self.found / self.wanted if self.at_least else self.wanted / self.found


def row(server: str, protocol: str, rounds: Sequence[Round]) -> Row:
    """Return the medians of a server's rounds."""

    def median(values: Sequence[float]) -> float:
        return statistics.median(values)

    loads = [load for found in rounds for load in found.loads.values()]
    return Row(
        server=server,
        protocol=protocol,
        p50_us=median([r.loads[1].p50_us for r in rounds]),
        p99_us=median([r.loads[1].p99_us for r in rounds]),
        per_s_1=median([r.loads[1].per_s for r in rounds]),
        per_s_8=median([r.loads[8].per_s for r in rounds]),
        p99_us_8=median([r.loads[8].p99_us for r in rounds]),
        pss_mib=median([r.memory.pss_bytes for r in rounds]) / MIB,
        rss_mib=median([r.memory.rss_bytes for r in rounds]) / MIB,
        cold_start_s=median([r.cold_start_s for r in rounds]),
        requests=sum(load.requests for load in loads),
        failed=sum(load.failed for load in loads),
        p50s_us=tuple(r.loads[1].p50_us for r in rounds),
        per_s_8s=tuple(r.loads[8].per_s for r in rounds),
        by_connections=tuple(
            (
                number,
                median([r.loads[number].per_s for r in rounds]),
                median([r.loads[number].p50_us for r in rounds]),
                median([r.loads[number].p99_us for r in rounds]),
            )
            for number in rounds[0].loads
        ),
    )


def times(larger: Sequence[float], smaller: Sequence[float]) -> float:
    """Return the median, over rounds, of how many times larger one is than the other."""
    return statistics.median(one / other for one, other in zip(larger, smaller, strict=False))


def _least_gain(row: Row) -> float:
    """Return the least ratio of requests a second between a number of connections and the next smaller one."""
    per_s = [found[1] for found in row.by_connections]
    return min(after / before for before, after in pairwise(per_s))


def limit_us(rows: Mapping[tuple[str, str], Row], bare_us: float) -> float | None:
    """Return what no server around the interpreter can beat: bare, and the same server answering a constant."""
    constant = rows.get(("limit", "v2 binary, int8"))
    return None if constant is None else bare_us + constant.p50_us


def limit_per_s(rows: Mapping[tuple[str, str], Row], bare_us: float, *, cores: int) -> float | None:
    """Return the requests a second over 8 connections of a server that spends on a request what the constant one does.

    Both keep all cores busy: what a request takes of them is bare inference, and all that the constant server, the load
    generator and the kernel do.
    """
    constant = rows.get(("limit", "v2 binary, int8"))
    return None if constant is None else 1 / (bare_us / 1e6 / cores + 1 / constant.per_s_8)


def goals(
    rows: Mapping[tuple[str, str], Row], local: Sequence[Local], bare_us: float, wanted: Wanted, *, cores: int
) -> list[Goal]:
    """Return the goals that these rows can judge."""
    found: list[Goal] = []
    binary, json = rows.get(("edgemm", "v2 binary, int8")), rows.get(("edgemm", "v2 JSON"))
    floats, mlserver = rows.get(("edgemm-float32", "v2 binary, float32")), rows.get(("mlserver", "v2 JSON"))
    limit = limit_us(rows, bare_us)
    if binary and mlserver:
        found += [
            Goal(
                "latency: MLServer ÷ edgemm binary, p50, 1 connection",
                times(mlserver.p50s_us, binary.p50s_us),
                wanted.latency,
                at_least=True,
            ),
            Goal(
                "throughput: edgemm binary ÷ MLServer, 8 connections",
                times(binary.per_s_8s, mlserver.per_s_8s),
                wanted.throughput,
                at_least=True,
            ),
        ]
    if json and mlserver:
        found.append(
            Goal(
                "JSON against JSON: MLServer ÷ edgemm, p50",
                times(mlserver.p50s_us, json.p50s_us),
                wanted.json,
                at_least=True,
            )
        )
    if limit and wanted.limit:
        for what, one in (("int8", binary), ("float32", floats)):
            if one:
                found.append(
                    Goal(f"edgemm binary {what} ÷ limit, p50", one.p50_us / limit, wanted.limit, at_least=False)
                )
    most = limit_per_s(rows, bare_us, cores=cores)
    if binary and most and wanted.limit:
        what = "limit ÷ edgemm binary, requests/s over 8 connections"
        found.append(Goal(what, most / binary.per_s_8, wanted.limit, at_least=False))
    if binary:
        found += [
            Goal(
                "more connections: the least requests/s of a number ÷ those of the one before",
                _least_gain(binary),
                1,
                at_least=True,
            ),
            Goal("PSS over all processes, MiB", binary.pss_mib, 70, at_least=False),
            Goal("RSS over all processes, MiB: PSS if nobody shares", binary.rss_mib, 70, at_least=False),
            Goal("start to the first right answer, s", binary.cold_start_s, 0.8, at_least=False),
        ]
    found += [
        Goal(f"predict over bare in process, {one.signature}, µs", one.over_us, 5, at_least=False) for one in local
    ]
    return found
