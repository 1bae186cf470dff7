"""What the runs say: medians over rounds, ratios to MLServer and to the limit, and the goals. Pure.

A ratio to MLServer is the median of the rounds' ratios: what else the machine does comes and goes, and slows both down.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from benchmarks.serving.memory import MIB, Memory
from benchmarks.serving.wrk import Load


class Round(msgspec.Struct, frozen=True):
    """One server and protocol in one round."""

    one: Load
    eight: Load
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

    loads = [load for found in rounds for load in (found.one, found.eight)]
    return Row(
        server=server,
        protocol=protocol,
        p50_us=median([r.one.p50_us for r in rounds]),
        p99_us=median([r.one.p99_us for r in rounds]),
        per_s_1=median([r.one.per_s for r in rounds]),
        per_s_8=median([r.eight.per_s for r in rounds]),
        p99_us_8=median([r.eight.p99_us for r in rounds]),
        pss_mib=median([r.memory.pss_bytes for r in rounds]) / MIB,
        rss_mib=median([r.memory.rss_bytes for r in rounds]) / MIB,
        cold_start_s=median([r.cold_start_s for r in rounds]),
        requests=sum(load.requests for load in loads),
        failed=sum(load.failed for load in loads),
        p50s_us=tuple(r.one.p50_us for r in rounds),
        per_s_8s=tuple(r.eight.per_s for r in rounds),
    )


def times(larger: Sequence[float], smaller: Sequence[float]) -> float:
    """Return the median, over rounds, of how many times larger one is than the other."""
    return statistics.median(one / other for one, other in zip(larger, smaller, strict=False))


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


def goals(rows: Mapping[tuple[str, str], Row], local: Sequence[Local], bare_us: float) -> list[Goal]:
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
                4,
                at_least=True,
            ),
            Goal(
                "throughput: edgemm binary ÷ MLServer, 8 connections",
                times(binary.per_s_8s, mlserver.per_s_8s),
                8,
                at_least=True,
            ),
        ]
    if json and mlserver:
        found.append(
            Goal("JSON against JSON: MLServer ÷ edgemm, p50", times(mlserver.p50s_us, json.p50s_us), 2.5, at_least=True)
        )
    if limit:
        for what, one in (("int8", binary), ("float32", floats)):
            if one:
                found.append(Goal(f"edgemm binary {what} ÷ limit, p50", one.p50_us / limit, 1.25, at_least=False))
    if binary:
        found += [
            Goal("PSS over all processes, MiB", binary.pss_mib, 70, at_least=False),
            Goal("RSS over all processes, MiB: PSS if nobody shares", binary.rss_mib, 70, at_least=False),
            Goal("start to the first right answer, s", binary.cold_start_s, 0.8, at_least=False),
        ]
    found += [
        Goal(f"predict over bare in process, {one.signature}, µs", one.over_us, 5, at_least=False) for one in local
    ]
    return found
