"""The command `edgemm convert`: options in, progress on stderr, the bundle's path on stdout."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import NoReturn, Unpack

import click
import msgspec
from rich.text import Text

from edgemm import figures, library_errors
from edgemm.finite_range import FiniteRange, seconds
from edgemm.outlet import escaping, say, say_json
from edgemm.terminal import PlainConsole, plain_console
from edgemm_converter.children.child import ChildLimits
from edgemm_converter.conversion import ConversionResult
from edgemm_converter.conversion import convert as convert_model
from edgemm_converter.job.monitor_effort import MonitorEffort
from edgemm_converter.job.options import ConversionOptions
from edgemm_converter.job.targets import all_targets
from edgemm_converter.job.variant_plan import AUTO, PRECISIONS
from edgemm_converter.judging.metrics import Metric

PATH = click.Path(path_type=Path)
_DEFAULTS = ChildLimits()
_GIB = 2**30
_MOST_GIB = 2**20


def _column(text: str) -> tuple[str, str]:
    name, separator, dtype = text.rpartition("=")
    if not separator or not name:
        raise click.BadParameter(f"{text!r}: expected NAME=DTYPE, such as city=string")
    return name, dtype


class InputShape(click.ParamType[tuple[str, tuple[int, ...]]]):
    """`NAME=1,224,224,3`; −1 for a dimension that stays variable."""

    name = "input shape"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        """Return the name and the dimensions."""
        name, separator, dims = str(value).rpartition("=")
        try:
            shape = tuple(int(d) for d in dims.split(",")) if dims else ()
        except ValueError:
            shape = (0,)
        if not separator or not name or any(d < -1 or d == 0 for d in shape):
            self.fail(f"{value!r}: expected NAME=1,224,224,3", param, ctx)
        return name, shape


def _stop(signum: int, _frame: object) -> NoReturn:
    """End as an interrupt does, so that the temporary folder goes and the child with it."""
    sys.exit(128 + signum)


@click.command()
@click.argument("source", type=PATH)
@click.option("-o", "--output", type=PATH, help="The bundle to write.  [default: NAME-VERSION.edgemm here]")
@click.option("--name", help="The model's name.  [default: from the file's name]")
@click.option("--version", default="0.1.0", show_default=True, help="The model's semantic version.")
@click.option(
    "--target", "targets", multiple=True, type=click.Choice([str(target.engine) for target in all_targets()]),
    help="Repeatable; all.",
)  # fmt: skip
@click.option(
    "--precision", "precisions", multiple=True, type=click.Choice([*map(str, PRECISIONS), AUTO]),
    help="Repeatable; auto: the smallest within --max-drop.  [default: float32, and int8 with --calibration]",
)  # fmt: skip
@click.option("--calibration", type=PATH, help="Real inputs: .npz (one array, or one by input), .npy, CSV, images.")
@click.option("--labels", type=PATH, help="Names of the classes: one per line, or a JSON list.")
@click.option(
    "--custom-objects",
    multiple=True,
    metavar="MODULE[:NAME]",
    help="Import custom layers or types in the child. Repeatable.",
)
@click.option("--allow-lambda", is_flag=True, help="Run Lambda layers: Python code that lies in the model file.")
@click.option("--allow-pickle", is_flag=True, help="Open a joblib file or pickle: code of whoever made it.")
@click.option("--signature", help="Which signature of a SavedModel or .tflite file.  [default: serving_default]")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME=DTYPE",
    callback=lambda _context, _parameter, given: dict(map(_column, given)),
    help="The dtype of an estimator's column where its steps do not tell: string, float32, float64, int64 or bool. "
    "Repeatable.",
)
@click.option(
    "--input-shape", "input_shapes", multiple=True, type=InputShape(), metavar="NAME=1,224,224,3",
    callback=lambda _context, _parameter, shapes: dict(shapes),
    help="Fix the shape of an input that the source leaves open. Repeatable.",
)  # fmt: skip
@click.option(
    "--eval",
    "evaluation",
    type=PATH,
    help="Labelled inputs: as --calibration with `labels`, or images in folders of classes.",
)
@click.option("--eval-output", "evaluated_output", metavar="NAME", help="Which output the metric is of.")
@click.option(
    "--metric", type=click.Choice([str(m) for m in Metric]), show_default=str(Metric.ACCURACY),
    help="Measured on --eval.",
)  # fmt: skip
@click.option(
    "--max-drop",
    type=FiniteRange(min=0),
    metavar="X",
    help="No bundle where a variant is worse than the source by more, in the metric's unit.",
)
@click.option("--preprocess", type=PATH, help="TOML: how inputs are made of images or class indices.")
@click.option("--report", type=PATH, help="Write a page of HTML about the conversion, and its data as JSON beside it.")
@click.option("--parent", type=PATH, help="The bundle that this one follows; the report compares the two.")
@click.option("--licence", help="The model's licence.")
@click.option(
    "--monitor", type=click.Choice([str(effort) for effort in MonitorEffort]), default=str(MonitorEffort.QUICK),
    show_default=True, help="With --eval: learn to tell the accuracy in the field without labels.",
)  # fmt: skip
@click.option(
    "--stateful", is_flag=True, help="The finished file keeps state: serve each client a sequence of its own."
)
@click.option("--timeout", type=seconds(), default=_DEFAULTS.timeout_s, show_default=True,
              metavar="SECONDS", help="Wall time that each child process may take.")  # fmt: skip
@click.option("--max-memory", type=FiniteRange(min=0.5, max=_MOST_GIB), default=_DEFAULTS.max_memory_bytes / _GIB,
              show_default=True, metavar="GIB", help="Memory that each child process may take.")  # fmt: skip
@click.option("--no-cache", "cache", is_flag=True, flag_value=False, default=True,
              help="Convert anew, and keep nothing for a repeat.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout and nothing else there.")
@library_errors.verbose_option
def convert(
    source: Path,
    *,
    timeout: float,
    max_memory: float,
    cache: bool,
    as_json: bool,
    **options: Unpack[ConversionOptions],
) -> None:
    """Turn a trained model into a verified bundle.

    SOURCE is a .keras or .h5 file of Keras 2 or 3, the folder of a SavedModel, a scikit-learn model saved by skops,
    joblib or pickle, the file of an XGBoost (.json, .ubj) or LightGBM (.txt) model, or an exported program of PyTorch
    (.pt2). It is loaded in a child process, converted, and each variant is run in the device's engine and compared with
    the source: wrong outputs, no bundle.
    A finished .tflite or .onnx file is verified and packaged as it is.
    """
    signal.signal(signal.SIGTERM, _stop)
    limits = ChildLimits(timeout_s=timeout, max_memory_bytes=int(max_memory * _GIB))
    console = plain_console(stderr=True)
    with console.status("starting") as status:

        def progress(stage: str) -> None:
            console.print(f"• {stage}")
            status.update(Text(escaping.one_line(stage)))

        result = convert_model(source, limits=limits, progress=progress, cache=cache, **options)
    if as_json:
        say_json(json.dumps(_summary(result)).encode())
        return
    _tell(console, result)
    say(result.path)


def _summary(result: ConversionResult) -> dict[str, object]:
    manifest = result.manifest
    return {
        "path": str(result.path),
        "name": manifest.name,
        "version": manifest.version,
        "digest": result.digest,
        "variants": {v.id: manifest.blobs[v.blob].size for v in manifest.variants},
        "left_out": dict(result.left_out),
        "evaluation": None if manifest.evaluation is None else manifest.evaluation.variants,
        "drops": {} if manifest.evaluation is None else msgspec.to_builtins(manifest.evaluation.drops),
        "trials": msgspec.to_builtins(result.trials),
        "warnings": result.warnings,
        "from_file": result.from_file,
        "monitored": result.monitored,
        "repeated": result.repeated,
    }


def _tell(console: PlainConsole, result: ConversionResult) -> None:
    manifest = result.manifest
    for line in result.from_file:
        console.print(f"  {line}")
    for variant in manifest.variants:
        judged = [run for run in manifest.parity if run.variant == variant.id and run.limit is not None]
        errors = [output.relative for run in judged for output in run.outputs]
        parity = f"largest error ÷ range {max(errors):.2g}" if errors else "held to its own answers"
        size = manifest.blobs[variant.blob].size
        console.print(f"  {variant.id:<20} {size:>12,} bytes   {parity}")
    if manifest.evaluation:
        for variant_id, drop in manifest.evaluation.drops.items():
            value = figures.score(manifest.evaluation.variants[variant_id])
            interval = f"drop {figures.interval(drop.value, drop.low, drop.high)}"
            console.print(f"  {variant_id:<20} {manifest.evaluation.metric} {value}   {interval}")
    for trial in result.trials:
        said = trial.refused or f"{trial.size:>12,} bytes   drop {figures.score(trial.drop or 0.0)}"
        console.print(f"  tried {trial.precision:<14} {said}")
    for line in result.monitored:
        console.print(f"  {line}")
    for warning in result.warnings:
        console.print(f"warning: {warning}")
    for variant_id, reason in result.left_out.items():
        console.print(f"  {variant_id:<20} left out: {reason}")
    console.print(f"next: edgemm inspect {result.path}   or   edgemm run {result.path}")
