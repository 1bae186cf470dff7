"""The values of inputs in JSON: nested lists, images, texts, each as its input takes it. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, TypeAlias

from edgemm.bundle.manifest import DType, Preprocessing, Signature, TensorSpec
from edgemm.errors import BadRequestError
from edgemm_runtime.http import json_faults
from edgemm_runtime.preprocessing import class_indices, encoded_images, image_inputs
from edgemm_runtime.tensors.inputs import batched, describe
from edgemm_runtime.tensors.named_arrays import Array
from edgemm_runtime.tensors.named_inputs import are_names
from edgemm_runtime.tensors.numbers import to_array

Declared: TypeAlias = Mapping[str, Preprocessing]
_KINDS: Mapping[str, frozenset[type]] = {"b": frozenset({bool}), "f": frozenset({int, float})}
_INTEGERS: frozenset[type] = frozenset({int})
_OR_NULL: frozenset[type] = frozenset({int, float, type(None)})


def check_names(values: dict[str, Any], signature: Signature) -> None:
    """Compare the names of inputs with the signature.

    Raises:
        BadRequestError: one is unknown or missing.
    """
    if not are_names(values, signature.inputs):
        names = ", ".join(sorted(values))[:200] or "none"
        raise BadRequestError(f"expected the inputs {describe(signature.inputs)}, found {names}")


def read_input(value: Any, spec: TensorSpec, steps: Preprocessing | None = None) -> Array:
    """Return nested lists as one input; the batch dimension may be missing, and class indices stand for one-hot rows.

    Images stand for an input that is made of them.

    Raises:
        BadRequestError: another kind of values, or another shape; or an image that is none.
        TooLargeError: the images are too large together.
    """
    if spec.dtype is DType.STRING:
        return batched(to_array(_texts(value, spec.name), spec), spec)
    if (files := encoded_images.in_json(value, texts=image_inputs.takes_images(steps))) is not None:
        return image_inputs.of_files(files, spec, steps)
    return batched(class_indices.rows(to_array(only_numbers(value, spec), spec), spec, steps), spec)


def only_numbers(value: Any, spec: TensorSpec) -> Any:
    """Return nested lists as they are; refuse what NumPy would convert on its own: text, null, booleans among numbers.

    Raises:
        BadRequestError: there is such a thing.
    """
    kinds = _OR_NULL if spec.missing else _KINDS.get(_kind(spec), _INTEGERS)
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(reversed(item))
        elif type(item) not in kinds:
            where = _row_of(value, kinds)
            why = ": the model takes no missing values" if item is None else ""
            raise BadRequestError(
                f"input {spec.name!r}{where}: expected {spec.dtype} values, found {json_faults.spelled(item)}{why}"
            )
    return value


def _row_of(value: Any, kinds: frozenset[type]) -> str:
    """Say in which row of several the first value is that is of another kind."""
    if not isinstance(value, list) or len(value) < 2:
        return ""
    for row, found in enumerate(value):
        stack = [found]
        while stack:
            item = stack.pop()
            if isinstance(item, list):
                stack.extend(item)
            elif type(item) not in kinds:
                return f", row {row} (from 0)"
    return ""


def _texts(value: Any, name: str) -> Any:
    """Return texts as they are, and those that come as `{"b64": …}`, as TensorFlow Serving writes bytes, as texts."""
    if encoded_images.is_encoded(value):
        return _text(value, name)
    if isinstance(value, list) and any(map(encoded_images.is_encoded, value)):
        return [_text(one, name) if encoded_images.is_encoded(one) else one for one in value]
    return value


def _text(value: dict[str, Any], name: str) -> str:
    [encoded] = value.values()
    try:
        return base64.b64decode(encoded, validate=True).decode()
    except (TypeError, ValueError) as err:
        raise BadRequestError(f'input {name!r}: expected {{"b64": …}} of base64 of UTF-8, found another value') from err


def _kind(spec: TensorSpec) -> str:
    return spec.dtype.value[0]
