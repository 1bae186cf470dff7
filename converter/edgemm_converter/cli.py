"""`edgemm convert`: options in, progress on stderr, a bundle and the next command out."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from edgemm_converter.child import ChildLimits
from edgemm_converter.conversion import ConversionResult
from edgemm_converter.conversion import convert as convert_model
from edgemm_converter.evaluation import METRICS
from edgemm_converter.plan import PRECISIONS

PATH = click.Path(path_type=Path)
_DEFAULTS = ChildLimits()
_GIB = 2**30


@click.command()
@click.argument("source", type=PATH)
@click.option("-o", "--output", type=PATH, help="The bundle to write.  [default: NAME-VERSION.edgemm here]")
@click.option("--name", help="The model's name.  [default: from the file's name]")
@click.option("--version", default="0.1.0", show_default=True, help="The model's semantic version.")
@click.option("--target", "targets", multiple=True, type=click.Choice(["tflite", "onnx"]), help="Repeatable; both.")
@click.option(
    "--precision", "precisions", multiple=True, type=click.Choice([str(p) for p in PRECISIONS]),
    help="Repeatable.  [default: float32, and int8 with --calibration]",
)  # fmt: skip
@click.option("--calibration", type=PATH, help="Real inputs: .npz (one array, or one for each input name) or .npy.")
@click.option("--labels", type=PATH, help="Names of the classes: one per line, or a JSON list.")
@click.option(
    "--custom-objects", multiple=True, metavar="MODULE[:NAME]", help="Import custom layers in the child. Repeatable."
)
@click.option("--allow-lambda", is_flag=True, help="Run Lambda layers: Python code that lies in the model file.")
@click.option("--eval", "evaluation", type=PATH, help="Labelled data: a .npz of inputs and `labels`.")
@click.option("--metric", type=click.Choice(METRICS), default=METRICS[0], show_default=True, help="Measured on --eval.")
@click.option("--licence", help="The model's licence.")
@click.option("--timeout", type=click.FloatRange(min=1), default=_DEFAULTS.timeout_s, show_default=True,
              metavar="SECONDS", help="Wall time that each child process may take.")  # fmt: skip
@click.option("--max-memory", type=click.FloatRange(min=0.5), default=_DEFAULTS.max_memory_bytes / _GIB,
              show_default=True, metavar="GIB", help="Memory that each child process may take.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout and nothing else there.")
def convert(
    source: Path,
    *,
    metric: str,  # noqa: ARG001 - there is one, which is what conversion measures
    timeout: float,
    max_memory: float,
    as_json: bool,
    **options: object,
) -> None:
    """Turn a trained Keras model into a verified bundle.

    SOURCE is a Keras 3 .keras or .h5 file, or the folder of an exported SavedModel. It is loaded in a child process,
    converted, and each variant is run in the device's engine and compared with the source: wrong outputs, no bundle.
    """
    limits = ChildLimits(timeout_s=timeout, max_memory_bytes=int(max_memory * _GIB))
    console = Console(stderr=True, highlight=False)
    with console.status("starting") as status:

        def progress(stage: str) -> None:
            console.print(f"• {stage}", markup=False)
            status.update(stage)

        result = convert_model(source, limits=limits, progress=progress, **options)  # type: ignore[arg-type]
    if as_json:
        click.echo(json.dumps(_summary(result)))
        return
    _tell(console, result)
    click.echo(result.path)


def _summary(result: ConversionResult) -> dict[str, object]:
    manifest = result.manifest
    return {
        "path": str(result.path),
        "name": manifest.name,
        "version": manifest.version,
        "digest": result.digest,
        "variants": {v.id: manifest.blobs[v.blob].size for v in manifest.variants},
        "evaluation": None if manifest.evaluation is None else manifest.evaluation.variants,
    }


def _tell(console: Console, result: ConversionResult) -> None:
    manifest = result.manifest
    for variant in manifest.variants:
        judged = [run for run in manifest.parity if run.variant == variant.id and run.limit is not None]
        worst = max(output.relative for run in judged for output in run.outputs)
        size = manifest.blobs[variant.blob].size
        console.print(
            f"  {variant.id:<20} {size:>12,} bytes   largest error ÷ range {worst:.2g}", markup=False, soft_wrap=True
        )
    console.print(f"next: edgemm inspect {result.path}   or   edgemm run {result.path}", markup=False, soft_wrap=True)
