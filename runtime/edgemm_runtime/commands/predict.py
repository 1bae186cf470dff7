"""The command `edgemm predict`: answers inputs with a bundle's model, without a server."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from edgemm import figures
from edgemm.errors import BadRequestError, EngineError, InputError
from edgemm_runtime.commands.given import read_given
from edgemm_runtime.models.model import Model, load
from edgemm_runtime.serving.protocols.predict import codec as predict_codec
from edgemm_runtime.serving.protocols.predict.codec import Answer
from edgemm_runtime.tensors import not_finite
from edgemm_runtime.tensors.named_arrays import Arrays

_SHOWN = 80


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--variant", default="auto", show_default=True, help="A variant, or several in order: tflite:int8,onnx:…")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document: the answer, or a list of answers.")
def predict(bundle: Path, inputs: tuple[str, ...], *, variant: str, as_json: bool) -> None:
    """Answer one or more INPUTs with a bundle's model, without a server.

    INPUT is a .npy, .npz or .json file, - for JSON on stdin, or inline JSON such as '[[0, 0.5, 1]]'. An
    input that the bundle declares one_hot may be class indices.

    Values that are no finite numbers are spelled "NaN", "Infinity" and "-Infinity"; the exit status is then 1.
    """
    model = load(bundle, variant=variant)
    found = [_outputs(model, text) for text in inputs]
    answers = [_answer(model, outputs) for outputs in found]
    if as_json:
        click.echo(msgspec.json.encode(answers[0] if len(answers) == 1 else answers))
    else:
        for answer in answers:
            click.echo(_describe(answer))
    for text, outputs in zip(inputs, found, strict=True):
        if what := not_finite.described(outputs):
            raise EngineError(
                f"{text[:_SHOWN]}: {model.variant.id}, {what}: look whether this is an input that the model was made "
                "for; if its source answers a number, convert the model again"
            )


def _outputs(model: Model, text: str) -> Arrays:
    given = read_given(text, model.manifest)
    try:
        return model.predict(given)
    except BadRequestError as err:
        raise InputError(str(err)) from err


def _answer(model: Model, outputs: Arrays) -> Answer:
    answer = predict_codec.make_answer(model.manifest, outputs, name=model.manifest.name)
    if not not_finite.described(outputs):
        return answer
    lists = {name: not_finite.spelled(values) for name, values in answer.outputs.items()}
    return msgspec.structs.replace(answer, outputs=lists, top=msgspec.UNSET)


def _describe(answer: Answer) -> str:
    if answer.top is msgspec.UNSET:
        return msgspec.json.encode(answer.outputs).decode()
    best = [top for sample in answer.top for top in (sample if isinstance(sample, list) else [sample])]
    return "\n".join(f"{top.label}  {figures.score(top.score)}" for top in best)
