"""The plain JSON of `POST /predict` and `edgemm predict`, which people write by hand and read. Pure.

A request is a bare array, `{"inputs": array}`, `{"inputs": {name: array}}` or `{"X": array}`, or a list of records in
place of an array, an object of inputs by name for each row; it may be called `instances` too. A single sample may leave
out the batch dimension, a column ([n] or [n, 1]) be given with one axis or two, and an input that is declared `one_hot`
may be class indices. An input that the bundle makes of images may be one or a list of them, each `{"b64": "…"}` or the
base64 alone. The answer always has the batch:

    {"model": "digits", "version": "1.0.0", "outputs": {"scores": [[…]]}, "top": [{"label": "7", "score": 0.98}]}
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from edgemm.bundle.manifest import Manifest, Signature
from edgemm.errors import BadRequestError
from edgemm_runtime.http import json_faults
from edgemm_runtime.models.best_classes import Top, best_classes
from edgemm_runtime.preprocessing import encoded_images
from edgemm_runtime.serving.protocols.predict import row_records
from edgemm_runtime.serving.protocols.predict.input_values import Declared, check_names, read_input
from edgemm_runtime.tensors import pieces
from edgemm_runtime.tensors.comparison import score_labels
from edgemm_runtime.tensors.inputs import describe
from edgemm_runtime.tensors.json_memory import hold_parsed, hold_written
from edgemm_runtime.tensors.named_arrays import Array, Arrays
from edgemm_runtime.tensors.numbers import read_nested

_KEYS = ("inputs", "X", "instances")


class Answer(Struct, frozen=True):
    """What `/predict` returns; `top` has one entry a sample, or a list of the best where more than one was asked for.

    It is there where the bundle has labels.
    """

    model: str
    version: str
    outputs: dict[str, Any]
    top: list[Top] | list[list[Top]] | UnsetType = UNSET


def decode_request(body: bytes, signature: Signature, *, declared: Declared | None = None) -> dict[str, Array]:
    """Read a request into arrays that the signature takes, whose pre-processing is `declared`.

    Raises:
        BadRequestError: not JSON, or not those arrays.
    """
    pieces.check_length(len(body))
    steps = declared or {}
    indexed = any(one.one_hot is not None for one in steps.values())
    if not indexed and (quick := _read_quickly(body, signature)) is not None:
        return quick
    pieces.check_whole(body, "the request")
    values = values_of(parse(body))
    specs = {spec.name: spec for spec in signature.inputs}
    if row_records.are_records(values):
        return row_records.read(values, signature, steps)
    if not isinstance(values, dict) or encoded_images.is_encoded(values):
        if len(specs) != 1:
            raise BadRequestError(
                f"expected inputs by name, found one array; the model takes {describe(signature.inputs)}"
            )
        values = {signature.inputs[0].name: values}
    check_names(values, signature)
    return {name: read_input(value, specs[name], steps.get(name)) for name, value in values.items()}


class _Inputs(Struct, frozen=True):
    inputs: msgspec.Raw | UnsetType = UNSET
    X: msgspec.Raw | UnsetType = UNSET
    instances: msgspec.Raw | UnsetType = UNSET


def _is_unset(given: msgspec.Raw | UnsetType) -> bool:
    return given is UNSET


def _read_quickly(body: bytes, signature: Signature) -> dict[str, Array] | None:
    """Read nested numbers without making lists of them; None for everything else, right or wrong."""
    text = json_faults.without_mark(body)
    try:
        if text.lstrip()[:1] == b"[":
            raw = bytes(msgspec.json.decode(text, type=msgspec.Raw))
        else:
            found = msgspec.json.decode(text, type=_Inputs)
            given = found.inputs
            if given is UNSET or found.X is not UNSET or found.instances is not UNSET:  # as seldom
                [given, *others] = sorted((found.inputs, found.X, found.instances), key=_is_unset)
                if given is UNSET or others[0] is not UNSET:
                    return None
            raw = bytes(given)
        named = (
            {signature.inputs[0].name: raw}
            if raw[:1] == b"["
            else msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if len(named) != len(signature.inputs) or not all(spec.name in named for spec in signature.inputs):
        return None
    read = {spec.name: read_nested(bytes(named[spec.name]), spec) for spec in signature.inputs}
    arrays = {name: array for name, array in read.items() if array is not None}
    return arrays if len(arrays) == len(read) else None


def parse(body: bytes) -> Any:
    """Return what JSON says.

    Raises:
        BadRequestError: it is none.
    """
    hold_parsed(body)
    try:
        return msgspec.json.decode(json_faults.without_mark(body))
    except json_faults.FAULTS as err:
        raise BadRequestError(f'expected JSON such as {{"inputs": [[…]]}}: {json_faults.told(err, body)}') from err


def make_answer(manifest: Manifest, outputs: Arrays, *, name: str, top: int = 1) -> Answer:
    """Return the answer to a request, with the `top` best classes of each sample."""
    hold_written(outputs.values())
    lists = {output: pieces.listed(array) for output, array in outputs.items()}
    best = best_classes(outputs, score_labels(manifest), count=top)
    shown = [one[0] for one in best] if top == 1 else best
    return Answer(name, manifest.version, lists, shown if best else UNSET)


def values_of(found: Any) -> Any:
    """Return the inputs in what a request says, in whichever of its forms.

    Raises:
        BadRequestError: it is of none.
    """
    if isinstance(found, list | str) or encoded_images.is_encoded(found):
        return found
    if isinstance(found, dict) and len(keys := [key for key in _KEYS if found.get(key) is not None]) == 1:
        return found[keys[0]]
    kind = _told_keys(found) if isinstance(found, dict) else json_faults.spelled(found)
    raise BadRequestError(f'expected an array, {{"inputs": …}} or {{"X": …}}, found {kind}')


def _told_keys(found: dict[str, Any]) -> str:
    if not found:
        return "an object without keys"
    return "the keys " + ", ".join(sorted(key[:40] for key in found))[:200]
