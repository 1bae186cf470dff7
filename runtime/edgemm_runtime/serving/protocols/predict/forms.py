"""The forms of input to `/predict`: JSON, CSV, `.npy`, or images where the bundle declares its preprocessing. Pure.

Each may also be a file of a form (`curl -F file=@cat.jpg`). A body and its content type become arrays that the
signature takes. An image is known by its first bytes, whatever the content type says: programs send none, or a wrong
one. `edgemm predict` reads files by the same functions.
"""

from __future__ import annotations

import math
from urllib.parse import parse_qs

import numpy as np

from edgemm.bundle.manifest import DType, Manifest, Preprocessing, Signature, TensorSpec
from edgemm.errors import BadRequestError
from edgemm_runtime.memory.memory_budget import hold
from edgemm_runtime.preprocessing import class_indices, encoded_images, image_inputs
from edgemm_runtime.serving.protocols.predict import codec as predict_codec
from edgemm_runtime.serving.protocols.predict import csv_columns, input_values, multipart, npy_body
from edgemm_runtime.tensors import csv_table
from edgemm_runtime.tensors.inputs import check_array, describe
from edgemm_runtime.tensors.json_memory import hold_csv
from edgemm_runtime.tensors.named_arrays import Array
from edgemm_runtime.tensors.numbers import to_array

_MOST_TOP = 100
_JSON = frozenset((b"{", b"["))


def decode(body: bytes, manifest: Manifest, *, content_type: str) -> dict[str, Array]:
    """Read a request; whatever is no image, array or CSV is read as JSON, whatever it says it is.

    Raises:
        BadRequestError: it is not that, or not what the signature takes.
        TooLargeError: it is a form of too many parts, or of images that are too large together.
    """
    hold(len(body))  # parts, or what base64 stands for, are copies
    kind = content_type.partition(";")[0].strip().lower()
    if kind == multipart.CONTENT_TYPE:
        return _of_form(multipart.read_parts(body, content_type=content_type), manifest)
    if kind in multipart.UNTOLD and body[:1] not in _JSON and _seems_csv(body, manifest):
        kind = "text/csv"
    if kind in multipart.CSV_TYPES and csv_columns.takes_table(manifest.signature):
        return csv_columns.read(body, manifest.signature)
    if npy_body.is_npy(body) or multipart.is_image(body, kind) or kind in multipart.CSV_TYPES:
        spec = _only_input(manifest)
        return {spec.name: _input([multipart.Part("", kind, body)], spec, manifest)}
    return predict_codec.decode_request(body, manifest.signature, declared=manifest.preprocessing)


def _seems_csv(body: bytes, manifest: Manifest) -> bool:
    if csv_table.seems_csv(body):
        return True
    return csv_columns.takes_table(manifest.signature) and csv_columns.seems_table(body, manifest.signature)


def _of_form(parts: list[multipart.Part], manifest: Manifest) -> dict[str, Array]:
    """Read each input's parts: by its name where there are several inputs, else whatever they are called."""
    inputs = manifest.signature.inputs
    if any(part.content_type == multipart.CONTENT_TYPE for part in parts):
        raise BadRequestError("expected a file or numbers in the part, found another form")
    if len(inputs) == 1:
        if len(parts) == 1 and not (parts[0].is_image or parts[0].is_csv):
            return decode(parts[0].data, manifest, content_type=parts[0].content_type)
        return {inputs[0].name: _input(parts, inputs[0], manifest)}
    if len(parts) == 1 and parts[0].is_csv and parts[0].name not in {spec.name for spec in inputs}:
        return csv_columns.read(parts[0].data, manifest.signature)
    named: dict[str, list[multipart.Part]] = {}
    for part in parts:
        named.setdefault(part.name, []).append(part)
    input_values.check_names(named, manifest.signature)
    return {spec.name: _input(named[spec.name], spec, manifest) for spec in inputs}


def _input(parts: list[multipart.Part], spec: TensorSpec, manifest: Manifest) -> Array:
    """Return an input that is made of one part, or of several images."""
    steps = _steps(manifest, spec)
    if len(parts) == 1 and npy_body.is_npy(parts[0].data):
        return npy_body.read(parts[0].data, spec, steps)
    if parts and all(part.is_image for part in parts):
        return image_inputs.of_files([_file(part.data) for part in parts], spec, steps)
    if len(parts) != 1:
        raise BadRequestError(
            f"input {spec.name!r}: expected one part, or several with an image each, found {len(parts)}"
        )
    [part] = parts
    if part.is_csv and spec.dtype is DType.STRING:
        return csv_columns.read(part.data, Signature(inputs=(spec,), outputs=manifest.signature.outputs))[spec.name]
    if part.is_csv:
        return read_csv(part.data, spec, steps)
    return input_values.read_input(predict_codec.parse(part.data), spec, steps)


def _file(data: bytes) -> bytes:
    return encoded_images.from_text(data) if encoded_images.is_url(data) else data


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


def read_csv(body: bytes, spec: TensorSpec, steps: Preprocessing | None) -> Array:
    """Return one sample a line, the last axis varying fastest; `csv_table` says how CSV may be written.

    Raises:
        BadRequestError: it is no CSV, or its lines are not samples of the input.
    """
    if -1 in spec.shape[1:]:
        raise BadRequestError(f"the model takes {describe((spec,))}, of which a line of CSV cannot tell the size")
    hold_csv(body, blanks=True)
    table = csv_table.read(csv_table.decode(body))
    if not table.rows:
        raise BadRequestError("expected at least one line of numbers, found none")
    numbers = csv_table.values(table, kind=np.dtype(spec.dtype.value).kind)
    indexed = steps is not None and steps.one_hot is not None
    sizes = {math.prod(spec.shape[1:])} | ({math.prod(spec.shape[1:-1])} if indexed else set())
    for row, line in zip(numbers, table.numbers, strict=True):
        if len(row) not in sizes or len(row) != len(numbers[0]):
            raise BadRequestError(
                f"line {line}: expected one sample of {describe((spec,))}, {max(sizes)} numbers, found {len(row)}"
                + (": the first column has no name: leave it out" if table.header and not table.header[0] else "")
            )
    array = to_array(input_values.only_numbers(numbers, spec), spec)
    if indexed and array.shape[1:] == (math.prod(spec.shape[1:-1]),):
        array = class_indices.rows(array.reshape(len(numbers), *spec.shape[1:-1]), spec, steps)
    array = array.reshape(len(numbers), *spec.shape[1:])
    check_array(spec, array)
    return array
