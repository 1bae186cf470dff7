"""The command `edgemm predict`: answers inputs with a bundle's model, without a server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import UNSET

from edgemm import figures, library_errors
from edgemm.errors import BadRequestError, EdgemmError, EngineError, InputError
from edgemm.outlet import progress, say, say_json
from edgemm_runtime.commands.given import Given, expanded
from edgemm_runtime.models.model import Model, load
from edgemm_runtime.serving.protocols.predict import codec as predict_codec
from edgemm_runtime.serving.protocols.predict.codec import Answer
from edgemm_runtime.tensors import not_finite
from edgemm_runtime.tensors.named_arrays import Arrays


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--variant", default="auto", show_default=True, help="A variant, or several in order: tflite:int8,onnx:…")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document: the answer, or a list of answers.")
@library_errors.verbose_option
def predict(bundle: Path, inputs: tuple[str, ...], *, variant: str, as_json: bool) -> None:
    """Answer one or more INPUTs with a bundle's model, without a server.

    INPUT is an image (where the bundle declares how the input is made of one), a .csv, .npy, .npz or .json file, a
    folder of such files, - for one of them on stdin, or inline JSON such as '[[0, 0.5, 1]]'. An input that the bundle
    declares one_hot may be class indices.

    Of several INPUTs, or a folder, each has a line of its own; one that cannot be answered is told on stderr, and the
    exit status is then 2.

    Values that are no finite numbers are spelled "NaN", "Infinity" and "-Infinity"; the exit status is then 1.
    """
    model = load(bundle, variant=variant)
    given = expanded(inputs)
    if len(given) == 1 and not given[0].in_folder:
        _answer_one(model, given[0], as_json=as_json)
    else:
        _answer_each(model, given, as_json=as_json)


def _answer_one(model: Model, given: Given, *, as_json: bool) -> None:
    outputs = _outputs(model, given)
    answer = _answer(model, outputs)
    if as_json:
        say_json(msgspec.json.encode(answer))
    else:
        say(*_lines(answer))
    if problem := _not_finite(model, given, outputs):
        raise EngineError(problem)


def _answer_each(model: Model, given: list[Given], *, as_json: bool) -> None:
    """Answer inputs one by one, each printed as it is answered; an error of one does not end the others.

    The inputs of a stateful bundle are steps of one sequence, of which none can be left out: there it does.
    """
    listed, bad, first = _Listed(as_json=as_json, total=len(given)), 0, ""
    try:
        for one in given:
            try:
                outputs = _outputs(model, one)
            except InputError as err:
                listed.failed(one, err)
                bad += 1
                if model.manifest.stateful:
                    break
                continue
            listed.answered(one, _answer(model, outputs))
            first = first or _not_finite(model, one, outputs)
    finally:
        listed.end()
    if bad:
        end = ": a sequence has no gaps, so that it ended there" if model.manifest.stateful else ""
        raise InputError(f"{bad:,} of {len(given):,} inputs could not be answered{end}")
    if first:
        raise EngineError(first)


class _Listed:
    """What is printed of several inputs: a line each, or the elements of one JSON list; progress goes to a terminal."""

    def __init__(self, *, as_json: bool, total: int) -> None:
        self._as_json, self._total, self._done = as_json, total, 0
        self._shows_progress = sys.stderr.isatty() and not sys.stdout.isatty()

    def answered(self, given: Given, answer: Answer) -> None:
        """Print an answer."""
        if self._as_json:
            fields = {key: value for key, value in msgspec.structs.asdict(answer).items() if value is not UNSET}
            self._element({"input": given.name, **fields})
        else:
            say(f"{given.name}  {'; '.join(_lines(answer))}")
        self._step()

    def failed(self, given: Given, err: EdgemmError) -> None:
        """Print why an input was not answered."""
        if self._as_json:
            self._element({"input": given.name, "error": str(err)})
        if self._shows_progress:
            progress("")
        say(err, err=True)
        self._step()

    def end(self) -> None:
        """Print what comes behind the last one."""
        if self._as_json:
            say("[]" if not self._done else "]")
        if self._shows_progress and self._done:
            say("", err=True)

    def _element(self, fields: dict[str, Any]) -> None:
        say_json((b"," if self._done else b"[") + msgspec.json.encode(fields))

    def _step(self) -> None:
        self._done += 1
        if self._shows_progress:
            progress(f"{self._done:,} of {self._total:,}")


def _outputs(model: Model, given: Given) -> Arrays:
    inputs = given.read(model.manifest)
    try:
        return model.predict(inputs)
    except BadRequestError as err:
        raise InputError(f"{given.name}: {err}") from err


def _not_finite(model: Model, given: Given, outputs: Arrays) -> str:
    """Return what is to be said of an answer that is no number; empty where it is one."""
    what = not_finite.described(outputs)
    advice = (
        "look whether this is an input that the model was made for; if its source answers a number, convert the model "
        "again"
    )
    return f"{given.name}: {model.variant.id}, {what}: {advice}" if what else ""


def _answer(model: Model, outputs: Arrays) -> Answer:
    answer = predict_codec.make_answer(model.manifest, outputs, name=model.manifest.name)
    if not not_finite.described(outputs):
        return answer
    lists = {name: not_finite.spelled(values) for name, values in answer.outputs.items()}
    return msgspec.structs.replace(answer, outputs=lists, top=UNSET)


def _lines(answer: Answer) -> list[str]:
    if answer.top is UNSET:
        return [msgspec.json.encode(answer.outputs).decode()]
    best = [top for sample in answer.top for top in (sample if isinstance(sample, list) else [sample])]
    return [f"{top.label}  {figures.score(top.score)}" for top in best]
