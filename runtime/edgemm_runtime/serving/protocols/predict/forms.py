"""The forms of input to `/predict`: JSON, CSV, or an image where the bundle declares its preprocessing. Pure.

Each may also be a file of a form (`curl -F file=@cat.jpg`). A body and its content type become arrays that the
signature takes.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import math
from typing import Any
from urllib.parse import parse_qs

import msgspec

from edgemm.bundle.manifest import Manifest, Preprocessing, TensorSpec
from edgemm.bundle.unknowns import of_preprocessing
from edgemm.errors import BadRequestError
from edgemm_runtime.preprocessing import class_indices, image
from edgemm_runtime.serving.protocols.predict import codec as predict_codec
from edgemm_runtime.serving.protocols.predict import multipart
from edgemm_runtime.tensors.inputs import check_array, describe
from edgemm_runtime.tensors.named_arrays import Array
from edgemm_runtime.tensors.numbers import to_array

_MOST_TOP = 100


def decode(body: bytes, manifest: Manifest, *, content_type: str) -> dict[str, Array]:
    """Read a request; whatever is no CSV and no image is read as JSON, whatever it says it is.

    Raises:
        BadRequestError: it is not that, or not what the signature takes.
        TooLargeError: it is a form of too many parts.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == multipart.CONTENT_TYPE:
        return _of_form(multipart.read_parts(body, content_type=content_type), manifest)
    if kind == "text/csv":
        spec = _only_input(manifest)
        return {spec.name: _csv(body, spec, _steps(manifest, spec))}
    if kind.startswith("image/"):
        spec = _only_input(manifest)
        return {spec.name: _image(body, manifest, spec)}
    if b'"b64"' in body:
        return _with_images(body, manifest)
    return predict_codec.decode_request(body, manifest.signature, declared=manifest.preprocessing)


def _of_form(parts: list[multipart.Part], manifest: Manifest) -> dict[str, Array]:
    """Read one part for each input: by its name where there are several, else whatever it is called."""
    specs = {spec.name: spec for spec in manifest.signature.inputs}
    if len(specs) == 1:
        if len(parts) != 1:
            raise BadRequestError(f"expected one part, with the input of the model, found {len(parts)}")
        [part] = parts
        if part.content_type == multipart.CONTENT_TYPE:
            raise BadRequestError("expected a file or numbers in the part, found another form")
        return decode(part.data, manifest, content_type=part.content_type)
    names = [part.name for part in parts]
    if len(set(names)) != len(names):
        raise BadRequestError(f"expected one part for each input, found a name twice: {', '.join(names)[:200]}")
    predict_codec.check_names(dict.fromkeys(names), manifest.signature)
    return {part.name: _of_part(part, manifest, specs[part.name]) for part in parts}


def _of_part(part: multipart.Part, manifest: Manifest, spec: TensorSpec) -> Array:
    if part.content_type == "text/csv":
        return _csv(part.data, spec, _steps(manifest, spec))
    if part.content_type.startswith("image/"):
        return _image(part.data, manifest, spec)
    return predict_codec.read_input(predict_codec.parse(part.data), spec, _steps(manifest, spec))


def top_of(query: str) -> int:
    """Return how many classes an answer is to name, by `?top=K`; 1 where nothing is said.

    Raises:
        BadRequestError: no number from 1 to 100.
    """
    if not query:
        return 1
    values = parse_qs(query, keep_blank_values=True).get("top", ["1"])
    if len(values) == 1 and values[0].isascii() and values[0].isdigit() and 1 <= int(values[0][:4]) <= _MOST_TOP:
        return int(values[0][:4])
    raise BadRequestError(f"top: expected a number from 1 to {_MOST_TOP}, found {','.join(values)[:40]!r}")


def _only_input(manifest: Manifest) -> TensorSpec:
    inputs = manifest.signature.inputs
    if len(inputs) != 1:
        raise BadRequestError(f"expected inputs by name, in JSON; the model takes {describe(inputs)}")
    return inputs[0]


def _steps(manifest: Manifest, spec: TensorSpec) -> Preprocessing | None:
    return (manifest.preprocessing or {}).get(spec.name)


def _csv(body: bytes, spec: TensorSpec, steps: Preprocessing | None) -> Array:
    """Return one sample a line, numbers alone, the last axis varying fastest."""
    if -1 in spec.shape[1:]:
        raise BadRequestError(f"the model takes {describe((spec,))}, of which a line of CSV cannot tell the size")
    try:
        rows = [row for row in csv.reader(io.StringIO(body.decode("utf-8-sig")), strict=True) if row]
        numbers = [[msgspec.json.decode(cell.strip()) for cell in row] for row in rows]
    except (csv.Error, ValueError) as err:
        raise BadRequestError(f"expected lines of numbers with commas between: {err}") from err
    if not numbers:
        raise BadRequestError("expected at least one line of numbers, found none")
    array = to_array(predict_codec.only_numbers(numbers, spec), spec)
    if steps is not None and steps.one_hot is not None and array.shape[1:] == (math.prod(spec.shape[1:-1]),):
        array = class_indices.rows(array.reshape(len(numbers), *spec.shape[1:-1]), spec, steps)
    try:
        array = array.reshape(len(numbers), *spec.shape[1:])
    except ValueError as err:
        raise BadRequestError(
            f"expected in each line one sample of {describe((spec,))}, found {array.size // len(numbers)} numbers"
        ) from err
    check_array(spec, array)
    return array


def _image(body: bytes, manifest: Manifest, spec: TensorSpec) -> Array:
    steps = _steps(manifest, spec)
    if steps is None or steps.one_hot is not None:
        raise BadRequestError(
            f"the bundle does not declare how input {spec.name!r} is made of an image: send numbers, or convert it "
            "with --preprocess"
        )
    if reason := of_preprocessing(steps):
        raise BadRequestError(f"input {spec.name!r} takes no images here: its pre-processing {reason}, or send numbers")
    return predict_codec.batched(image.decode(body, steps).astype(spec.dtype.value), spec)


def _with_images(body: bytes, manifest: Manifest) -> dict[str, Array]:
    """Read JSON in which `{"b64": …}` stands for an image."""
    found = predict_codec.parse(body)
    values = found if isinstance(found, dict) and list(found) == ["b64"] else predict_codec.values_of(found)
    specs = {spec.name: spec for spec in manifest.signature.inputs}
    if not isinstance(values, dict) or "b64" in values:
        values = {_only_input(manifest).name: values}
    predict_codec.check_names(values, manifest.signature)
    return {
        name: _image(_base64(value["b64"]), manifest, specs[name])
        if isinstance(value, dict) and list(value) == ["b64"]
        else predict_codec.read_input(value, specs[name], _steps(manifest, specs[name]))
        for name, value in values.items()
    }


def _base64(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as err:
        raise BadRequestError(f"b64: expected base64 of an image file: {err}") from err
