"""Figures as tables for people, or as one JSON document."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from benchmarks.serving.figures import Goal, Local, Row, goals, limit_per_s, limit_us, times
from benchmarks.serving.subjects import Wanted


def as_text(rows: Mapping[tuple[str, str], Row], local: Sequence[Local], bare_us: float, wanted: Wanted) -> str:
    """Return tables in Markdown."""
    limit, mlserver = limit_us(rows, bare_us), rows.get(("mlserver", "v2 JSON"))
    cores = os.cpu_count() or 1
    most = limit_per_s(rows, bare_us, cores=cores)
    parts = [
        f"Bare invoke (set_tensor + invoke + get_tensor), p50: {bare_us:.1f} µs",
        *([f"Limit = bare + the constant answer, p50: {limit:.1f} µs"] if limit else []),
        *([f"Limit at 8 connections = bare on all cores + the constant answer: {most:,.0f} req/s"] if most else []),
        "",
        *_servers(rows.values(), limit, mlserver),
        "",
        *_by_connections(rows.values()),
        "",
        *_local(local),
        "",
        *_goals(goals(rows, local, bare_us, wanted, cores=cores)),
    ]
    return "\n".join(parts)


def as_json(rows: Mapping[tuple[str, str], Row], local: Sequence[Local], bare_us: float, wanted: Wanted) -> str:
    """Return everything as one JSON document."""
    found = {
        "bare_us": bare_us,
        "limit_us": limit_us(rows, bare_us),
        "limit_per_s": limit_per_s(rows, bare_us, cores=os.cpu_count() or 1),
        "rows": list(rows.values()),
        "in_process": list(local),
        "goals": [
            {"what": g.what, "found": g.found, "wanted": g.wanted, "ratio": g.ratio, "reached": g.reached}
            for g in goals(rows, local, bare_us, wanted, cores=os.cpu_count() or 1)
        ],
    }
    return msgspec.json.format(msgspec.json.encode(found)).decode()


def _servers(rows: Iterable[Row], limit: float | None, mlserver: Row | None) -> list[str]:
    heads = (
        "server", "protocol", "p50 µs", "p99 µs", "req/s, 1", "req/s, 8", "p99 µs, 8", "÷ limit", "MLServer ÷ it",
        "req/s, 8 ÷ MLServer", "PSS MiB", "RSS MiB", "cold start s", "failed",
    )  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in sorted(rows, key=lambda row: row.p50_us):
        cells = (
            row.server, row.protocol, f"{row.p50_us:.0f}", f"{row.p99_us:.0f}", f"{row.per_s_1:,.0f}",
            f"{row.per_s_8:,.0f}", f"{row.p99_us_8:,.0f}", _ratio(row.p50_us, limit),
            f"{times(mlserver.p50s_us, row.p50s_us):.2f}" if mlserver else "–",
            f"{times(row.per_s_8s, mlserver.per_s_8s):.2f}" if mlserver else "–",
            f"{row.pss_mib:.0f}", f"{row.rss_mib:.0f}", f"{row.cold_start_s:.2f}", f"{row.failed} of {row.requests:,}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _by_connections(rows: Iterable[Row]) -> list[str]:
    lines = ["| server | protocol | connections | req/s | p50 µs | p99 µs |", "|" + "---|" * 6]
    for row in rows:
        for number, per_s, p50_us, p99_us in row.by_connections:
            lines.append(f"| {row.server} | {row.protocol} | {number} | {per_s:,.0f} | {p50_us:,.0f} | {p99_us:,.0f} |")
    return lines


def _ratio(left: float | None, right: float | None) -> str:
    return "–" if left is None or right is None else f"{left / right:.2f}"


def _local(local: Iterable[Local]) -> list[str]:
    lines = [
        "| in process, signature | bare µs | predict µs | over µs | start s | PSS MiB | RSS MiB |",
        "|" + "---|" * 7,
    ]
    for one in local:
        cells = (
            one.signature, f"{one.bare_us:.1f}", f"{one.predict_us:.1f}", f"{one.over_us:.1f}", f"{one.start_s:.2f}",
            f"{one.pss_mib:.0f}", f"{one.rss_mib:.0f}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _goals(found: Iterable[Goal]) -> list[str]:
    lines = ["| goal | found | wanted | reached, as a ratio |", "|---|---|---|---|"]
    for goal in found:
        wanted = f"{'≥' if goal.at_least else '≤'} {goal.wanted:g}"
        verdict = f"{'yes' if goal.reached else 'NO'}, {goal.ratio:.2f}"
        lines.append(f"| {goal.what} | {goal.found:.2f} | {wanted} | {verdict} |")
    return lines
