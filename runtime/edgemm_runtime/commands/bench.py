"""`edgemm bench`: how fast and how large each variant of a bundle is on this machine."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from msgspec import Struct
from rich.table import Table

from edgemm.bundle import open_bundle
from edgemm.errors import EngineUnavailableError
from edgemm.manifest import Manifest
from edgemm.terminal import plain_console, plain_table
from edgemm_runtime.engines import available
from edgemm_runtime.engines.measuring import Measurement, measure_in_child
from edgemm_runtime.installed import unavailable_reason


class Benchmark(Struct, frozen=True):
    """What `edgemm bench --json` prints; `skipped` says why a variant was not run."""

    model: str
    version: str
    threads: int
    variants: tuple[Measurement, ...]
    skipped: dict[str, str]


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--runs", default=200, show_default=True, type=click.IntRange(1, 1_000_000), help="Inferences of each.")
@click.option(
    "--threads", default=1, show_default=True, type=click.IntRange(1, 64), help="CPU threads of one inference."
)
@click.option("--timeout", "timeout_s", default=600.0, show_default=True, help="Seconds for each variant.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def bench(bundle: Path, *, runs: int, threads: int, timeout_s: float, as_json: bool) -> None:
    """Measure each variant: file, load time, latency of one inference, peak memory; each in its own process."""
    with open_bundle(bundle) as opened:
        manifest = opened.manifest
    skipped = _skipped(manifest)
    if len(skipped) == len(manifest.variants):
        reasons = "; ".join(f"{name} {reason}" for name, reason in skipped.items())
        raise EngineUnavailableError(f"{bundle}: no variant can run here: {reasons}")
    measured = tuple(
        measure_in_child(bundle, variant.id, runs=runs, threads=threads, timeout_s=timeout_s)
        for variant in manifest.variants
        if variant.id not in skipped
    )
    done = Benchmark(manifest.name, manifest.version, threads, measured, skipped)
    if as_json:
        click.echo(msgspec.json.encode(done))
        return
    plain_console().print(_table(done))
    for name, reason in skipped.items():
        click.echo(f"{name} was not run: {reason}")


def _skipped(manifest: Manifest) -> dict[str, str]:
    reasons = {variant.id: unavailable_reason(variant, available()) for variant in manifest.variants}
    return {name: reason for name, reason in reasons.items() if reason}


def _table(done: Benchmark) -> Table:
    figures = ["file bytes", "load ms", "p50 ms", "p99 ms", "peak RSS MB"]
    title = f"{done.model} {done.version} here, {done.threads} thread{'s' if done.threads > 1 else ''}"
    table = plain_table("variant", *figures, title=title, right=figures)
    for m in done.variants:
        times = (f"{m.load_ms:.1f}", f"{m.p50_ms:.3f}", f"{m.p99_ms:.3f}")
        table.add_row(m.variant, f"{m.file_bytes:,}", *times, f"{m.peak_rss_bytes / 1e6:.0f}")
    return table
