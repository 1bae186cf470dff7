"""`edgemm inspect` and `edgemm extract`: the bundle tools of the plain install."""

from __future__ import annotations

from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

from edgemm import durable
from edgemm.bundle import open_bundle
from edgemm.manifest import Manifest, OutputParity, Parity, TensorSpec

BUNDLE = click.Path(path_type=Path)


@click.command()
@click.argument("bundle", type=BUNDLE)
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON and nothing else.")
def inspect(bundle: Path, *, as_json: bool) -> None:
    """Show what is in a bundle.

    The whole file is verified on the way: sizes, digests and the container around them.
    """
    with open_bundle(bundle) as opened:
        manifest, encoded, digest = opened.manifest, opened.manifest_bytes, opened.digest
    if as_json:
        click.echo(encoded)
        return
    console = Console()
    console.print(f"[bold]{manifest.name} {manifest.version}[/]  sha256 {digest}", highlight=False)
    console.print(f"from {manifest.lineage.source_name} ({manifest.lineage.source_format})", highlight=False)
    for title, tensors in (("inputs", manifest.signature.inputs), ("outputs", manifest.signature.outputs)):
        console.print(f"{title}: " + ", ".join(_describe(t) for t in tensors), highlight=False, markup=False)
    if manifest.labels:
        console.print(f"labels: {', '.join(manifest.labels)}", highlight=False, markup=False)
    console.print(_variants(manifest))
    console.print(_parity(manifest))


@click.command()
@click.argument("bundle", type=BUNDLE)
@click.option("--variant", required=True, help="Which one, for example tflite:int8; `edgemm inspect` lists them.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The model file to write.")
def extract(bundle: Path, *, variant: str, output: Path) -> None:
    """Write one variant's plain model file."""
    with open_bundle(bundle) as opened:
        data = opened.read(opened.manifest.variant(variant).blob)
    durable.write(output, data)
    click.echo(f"{output}: {len(data):,} bytes")


def _describe(tensor: TensorSpec) -> str:
    return f"{tensor.name} {tensor.dtype}{list(tensor.shape)}"


def _variants(manifest: Manifest) -> Table:
    table = Table(title="variants, in order of preference", title_justify="left", box=box.SIMPLE)
    for column in ("variant", "bytes", "file inputs", "file outputs"):
        table.add_column(column, justify="right" if column == "bytes" else "left")
    if manifest.evaluation:
        table.add_column(manifest.evaluation.metric, justify="right")
    for variant in manifest.variants:
        row = [
            variant.id,
            f"{manifest.blobs[variant.blob].size:,}",
            ", ".join(f"{t.dtype}{list(t.shape)}" for t in variant.inputs),
            ", ".join(f"{t.dtype}{list(t.shape)}" for t in variant.outputs),
        ]
        if manifest.evaluation:
            row.append(f"{manifest.evaluation.variants.get(variant.id, float('nan')):.4f}")
        table.add_row(*row)
    return table


def _parity(manifest: Manifest) -> Table:
    table = Table(title="parity with the source, run in the device's engine", title_justify="left", box=box.SIMPLE)
    for column in ("variant", "on", "output", "max ÷ range", "mean ÷ range", "limit", "cosine", "arg-max"):
        table.add_column(column, overflow="fold")
    for run in manifest.parity:
        for output in run.outputs:
            table.add_row(run.variant, f"{run.samples} {run.data}", *_figures(output, run))
    return table


def _figures(output: OutputParity, run: Parity) -> tuple[str, ...]:
    agreement = "–" if output.argmax_agreement is None else f"{output.argmax_agreement:.1%}"
    limit = "–" if run.limit is None else f"{run.limit:.2g} ({run.statistic})"
    return (output.name, f"{output.relative:.2g}", limit, f"{output.cosine:.6f}", agreement)
