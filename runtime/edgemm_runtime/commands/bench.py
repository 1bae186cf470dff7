"""The command `edgemm bench`: measures a bundle's variants, or a plain model file, on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from msgspec import Struct
from rich.status import Status
from rich.text import Text

from edgemm.bundle import open_bundle
from edgemm.bundle.engine_facts import with_suffix
from edgemm.bundle.manifest import Manifest
from edgemm.errors import EngineUnavailableError, InputError
from edgemm.finite_range import seconds
from edgemm.outlet import escaping, say, say_json
from edgemm.terminal import PlainTable, plain_console, plain_table
from edgemm_runtime.bench.conditions import Conditions, read_conditions, told
from edgemm_runtime.bench.measuring import PLAIN, Measurement, measure_in_child
from edgemm_runtime.engines import available
from edgemm_runtime.engines.choice import choose
from edgemm_runtime.installed import named, unavailable_reason

_MOST_THREADS = 4
"""More than these are not tried unasked: small models get slower by them."""


class Benchmark(Struct, frozen=True):
    """What `edgemm bench --json` prints; `variants` has one entry for each variant and number of threads.

    `skipped` says why a variant was not run, `chosen` which one `edgemm run` takes here; `before` and `after` are how
    the board was.
    """

    model: str
    version: str | None
    cpus: int
    engines: dict[str, str]
    variants: tuple[Measurement, ...]
    skipped: dict[str, str]
    chosen: str | None
    before: Conditions
    after: Conditions


class _Plan(Struct, frozen=True):
    model: str
    version: str | None
    variants: tuple[str, ...]
    skipped: dict[str, str]
    chosen: str | None


@click.command()
@click.argument("model", type=click.Path(path_type=Path), metavar="BUNDLE")
@click.option("--runs", default=200, show_default=True, type=click.IntRange(1, 1_000_000), help="Inferences of each.")
@click.option(
    "--threads",
    multiple=True,
    type=click.IntRange(1, 64),
    help=f"CPU threads of one inference; repeatable. By default 1, 2, 4 up to the CPUs, at most {_MOST_THREADS}.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=seconds(),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="For each measurement.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def bench(model: Path, *, runs: int, threads: tuple[int, ...], timeout_s: float, as_json: bool) -> None:
    """Measure each variant: latency, throughput, memory, load time; each in its own process.

    BUNDLE may also be an engine's plain file, .tflite or .onnx, which is given an input that is made up.
    """
    plan = _plan_of_file(model) if with_suffix(model.suffix.lower()) else _plan_of_bundle(model)
    cases = [(variant, count) for variant in plan.variants for count in threads or _threads_to_try()]
    before, measured = read_conditions(), list[Measurement]()
    with _progress() as status:
        for number, (variant, count) in enumerate(cases, start=1):
            name = model.name if variant == PLAIN else variant
            status.update(Text(escaping.one_line(f"{number} of {len(cases)}: {name}, {_threads(count)}")))
            measured.append(measure_in_child(model, variant, runs=runs, threads=count, timeout_s=timeout_s))
    done = Benchmark(
        plan.model, plan.version, os.cpu_count() or 1, _engines(measured), tuple(measured), plan.skipped, plan.chosen,
        before, read_conditions(),
    )  # fmt: skip
    if as_json:
        say_json(msgspec.json.encode(done))
    else:
        _print(done)


def _plan_of_bundle(path: Path) -> _Plan:
    with open_bundle(path) as opened:
        manifest = opened.manifest
    skipped = _skipped(manifest)
    if len(skipped) == len(manifest.variants):
        reasons = "; ".join(f"{name} {reason}" for name, reason in skipped.items())
        raise EngineUnavailableError(f"{path}: no variant can run here: {reasons}")
    chosen = choose(manifest, engines=available()).variant
    runnable = tuple(variant.id for variant in manifest.variants if variant.id not in skipped)
    return _Plan(manifest.name, manifest.version, runnable, skipped, chosen.id if chosen else None)


def _plan_of_file(path: Path) -> _Plan:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return _Plan(path.name, None, (PLAIN,), {}, None)


def _skipped(manifest: Manifest) -> dict[str, str]:
    reasons = {variant.id: unavailable_reason(variant, available()) for variant in manifest.variants}
    return {name: reason for name, reason in reasons.items() if reason}


def _threads_to_try() -> list[int]:
    most = min(os.cpu_count() or 1, _MOST_THREADS)
    return [count for count in (1, 2, 4) if count <= most]


def _engines(measured: Sequence[Measurement]) -> dict[str, str]:
    """Return the engine of each variant by its own name and version."""
    here, found = available(), {}
    for one in measured:
        engine = one.variant.partition(":")[0]
        entry, version = named(engine, here[engine])
        found[one.variant] = f"{entry.distribution} {version}"
    return found


@contextmanager
def _progress() -> Iterator[Status]:
    """Show on a terminal what is measured; stdout stays as it is."""
    console = plain_console(stderr=True)
    status = Status("", console=console)
    if not console.is_terminal:
        yield status
        return
    with status:
        yield status


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _print(done: Benchmark) -> None:
    plain_console().print(_table(done))
    for name, reason in done.skipped.items():
        say(f"{name} was not run: {reason}")
    quickest = min(done.variants, key=lambda m: m.p50_ms)
    most = max(done.variants, key=lambda m: m.per_second)
    say(f"quickest: {quickest.variant} with {_threads(quickest.threads)}, {quickest.p50_ms:.3f} ms")
    at_once = f"{most.at_once} at once" if most.at_once > 1 else "one at a time"
    say(f"most a second: {most.variant} with {_threads(most.threads)}, {most.per_second:,.0f}, {at_once}")
    if done.chosen:
        say(f"edgemm run takes {done.chosen} here; --variant names another one")
    for line in told(done.before, done.after):
        say(line)


def _table(done: Benchmark) -> PlainTable:
    figures = ["threads", "p50 ms", "p99 ms", "a second", "PSS MB", "peak RSS MB", "load ms", "file bytes"]
    title = f"{done.model} {done.version or ''}".rstrip() + f" here, on {done.cpus} CPUs"
    table = plain_table("variant", "engine", *figures, title=title, right=figures)
    for m in done.variants:
        pss = "–" if m.pss_bytes is None else f"{m.pss_bytes / 1e6:.0f}"
        times = (f"{m.p50_ms:.3f}", f"{m.p99_ms:.3f}", f"{m.per_second:,.0f}")
        sizes = (pss, f"{m.peak_rss_bytes / 1e6:.0f}", f"{m.load_ms:.1f}", f"{m.file_bytes:,}")
        table.add_row(m.variant, done.engines[m.variant], str(m.threads), *times, *sizes)
    return table
