"""The commands `edgemm inspect` and `edgemm extract`: the bundle tools of the plain install."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec import UNSET

from edgemm import durable, figures
from edgemm.bundle import open_bundle, unknowns
from edgemm.bundle.manifest import Evaluation, Manifest, Parity, TensorSpec
from edgemm.outlet import say, say_json
from edgemm.terminal import PlainTable, plain_console, plain_table

BUNDLE = click.Path(path_type=Path)


@click.command()
@click.argument("bundle", type=BUNDLE)
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON and nothing else.")
def inspect(bundle: Path, *, as_json: bool) -> None:
    """Show what is in a bundle.

    The whole file is verified on the way: sizes, digests and the container around them. Last comes what this version
    of edgemm does not know, and skips.
    """
    with open_bundle(bundle) as opened:
        manifest, encoded, digest = opened.manifest, opened.manifest_bytes, opened.digest
    if as_json:
        say_json(encoded)
        return
    console = plain_console()
    console.print(f"{manifest.name} {manifest.version}", style="bold")
    console.print(f"sha256 {digest}")
    console.print(f"from {manifest.lineage.source_name} ({manifest.lineage.source_format})")
    for title, tensors in (("inputs", manifest.signature.inputs), ("outputs", manifest.signature.outputs)):
        console.print(f"{title}: " + ", ".join(_describe(t) for t in tensors))
    if manifest.stateful:
        console.print("stateful: each client asks it in a sequence of its own")
    if manifest.labels:
        console.print(f"labels: {', '.join(manifest.labels)}")
        for one in manifest.labels_of or ():
            where = f" along axis {one.axis}, from {one.first or 0} on" if one.axis is not UNSET else ""
            console.print(f"labels are of output {one.output}: {one.kind}{where}", markup=False, soft_wrap=True)
    console.print(_variants(manifest))
    if (found := manifest.evaluation) is not None:
        console.print(f"{found.metric} on {found.samples:,} samples; the source has {figures.score(found.source)}")
    console.print(_parity(manifest))
    for sentence in unknowns.found_in(manifest):
        console.print(sentence, markup=False, soft_wrap=True)


@click.command()
@click.argument("bundle", type=BUNDLE)
@click.option("--variant", required=True, help="Which one, for example tflite:int8; `edgemm inspect` lists them.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The model file to write.")
def extract(bundle: Path, *, variant: str, output: Path) -> None:
    """Write one variant's plain model file."""
    with open_bundle(bundle) as opened:
        data = opened.read(opened.manifest.variant(variant).blob)
    durable.write(output, data)
    say(f"{output}: {len(data):,} bytes")


def _describe(tensor: TensorSpec) -> str:
    return f"{tensor.name} {tensor.dtype}{list(tensor.shape)}"


def _variants(manifest: Manifest) -> PlainTable:
    scored = [manifest.evaluation.metric, "drop, 95 % interval"] if manifest.evaluation else []
    headings = ["variant", "bytes", "file inputs", "file outputs", *scored]
    table = plain_table(*headings, title="variants, in order of preference", right=["bytes", *scored])
    for variant in manifest.variants:
        row = [
            variant.id,
            f"{manifest.blobs[variant.blob].size:,}",
            ", ".join(f"{t.dtype}{list(t.shape)}" for t in variant.inputs),
            ", ".join(f"{t.dtype}{list(t.shape)}" for t in variant.outputs),
        ]
        table.add_row(*row, *(_score(manifest.evaluation, variant.id) if manifest.evaluation else ()))
    return table


def _score(evaluation: Evaluation, variant: str) -> tuple[str, str]:
    score, drop = evaluation.variants.get(variant), evaluation.drops.get(variant)
    told = "–" if score is None else figures.score(score)
    if drop is None:
        return told, "–"
    value, low, high = (figures.score(one, sign="+") for one in (drop.value, drop.low, drop.high))
    return told, f"{value}, {low} to {high}"


def _parity(manifest: Manifest) -> PlainTable:
    """Show the worst of each variant's outputs over the runs that were judged; `--json` has every run."""
    figures = ["samples", "max ÷ range", "mean ÷ range", "limit", "arg-max"]
    title = "parity with the source, run in the device's engine"
    table = plain_table("variant", "output", *figures, title=title, right=figures)
    for variant in manifest.variants:
        runs = [run for run in manifest.parity if run.variant == variant.id]
        for spec in manifest.signature.outputs:
            table.add_row(variant.id, spec.name, *_worst(runs, spec.name))
    return table


def _worst(runs: list[Parity], name: str) -> tuple[str, ...]:
    judged = [run for run in runs if run.limit is not None] or runs
    found = [(run, output) for run in judged for output in run.outputs if output.name == name]
    if not found:
        return ("0", "–", "–", "–", "–")
    limits = {f"{run.limit:.2g} ({run.statistic})" for run, _ in found if run.limit is not None}
    agreements = [o.argmax_agreement for _, o in found if o.argmax_agreement is not None]
    return (
        str(sum(run.samples for run, _ in found)),
        f"{max(o.relative for _, o in found):.1e}",
        f"{max(o.mean_abs / (o.range or 1.0) for _, o in found):.1e}",
        ", ".join(sorted(limits)) or "–",
        f"{min(agreements):.1%}" if agreements else "–",
    )
