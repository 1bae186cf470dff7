"""The messages of TensorFlow Serving's REST interface, converted between JSON and arrays. Pure.

* `:predict` takes `instances` (a list, one entry a sample) and answers `predictions`, or `inputs` (whole tensors) and
  answers `outputs`; where there is one input or output, its bare values stand for it;
* `:classify` and `:regress` take `examples`, each an object of features by input, and a `context` common to all;
* an input that the bundle makes of images takes `{"b64": …}`, one a sample, as TensorFlow Serving writes bytes;
* NaN and infinities are tokens that JSON does not have, as TensorFlow Serving reads and writes them;
* versions are numbers: major · 10⁶ + minor · 10³ + patch, and 0 is whichever is served.

Source: the REST API page of TensorFlow Serving, and the behaviour of `ovmsclient` and KServe's client.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from edgemm.bundle.manifest import DType, Manifest, Signature, TensorSpec
from edgemm.errors import BadRequestError
from edgemm.versions import Version
from edgemm_runtime.http import json_faults
from edgemm_runtime.serving.protocols.predict import row_records
from edgemm_runtime.serving.protocols.predict.input_values import Declared, check_names, read_input
from edgemm_runtime.serving.protocols.tensorflow import many_numbers
from edgemm_runtime.tensors import pieces
from edgemm_runtime.tensors.element_types import OBJECT
from edgemm_runtime.tensors.inputs import describe
from edgemm_runtime.tensors.json_memory import hold_parsed, hold_written
from edgemm_runtime.tensors.named_arrays import Array, Arrays

_SIGNATURE = "serving_default"
_EXPECTED = 'expected JSON such as {"instances": [[…]]}'
_TYPES: Mapping[DType, str] = {
    DType.BOOL: "DT_BOOL", DType.INT8: "DT_INT8", DType.INT16: "DT_INT16", DType.INT32: "DT_INT32",
    DType.INT64: "DT_INT64", DType.UINT8: "DT_UINT8", DType.UINT16: "DT_UINT16", DType.UINT32: "DT_UINT32",
    DType.UINT64: "DT_UINT64", DType.FLOAT16: "DT_HALF", DType.FLOAT32: "DT_FLOAT", DType.FLOAT64: "DT_DOUBLE",
    DType.STRING: "DT_STRING",
}  # fmt: skip


class Verb(StrEnum):
    """What is asked of a model."""

    PREDICT = "predict"
    CLASSIFY = "classify"
    REGRESS = "regress"


class Decoded(msgspec.Struct, frozen=True):
    """A request as arrays; `samples` is how many it listed, and wants answers for: None where it gave whole tensors."""

    inputs: dict[str, Array]
    samples: int | None = None


def decode(verb: Verb, body: bytes, signature: Signature, *, declared: Declared | None = None) -> Decoded:
    """Read a request of a model whose pre-processing is `declared`.

    Raises:
        BadRequestError: not JSON, or not what the verb and the signature take.
        TooLargeError: the images are too large together.
    """
    pieces.check_length(len(body))
    if verb is Verb.PREDICT and (quick := many_numbers.read(body, signature)) is not None:
        return _quickly_read(quick[0], signature, by_sample=quick[1])
    pieces.check_whole(body, "the request")
    found, steps = _parse(body), declared or {}
    name = found.get("signature_name") or _SIGNATURE
    if name != _SIGNATURE:
        raise BadRequestError(f"signature_name: expected {_SIGNATURE}, found {json_faults.spelled(name)}")
    if verb is not Verb.PREDICT:
        examples = _examples(found)
        return Decoded(_samples(examples, signature, steps), len(examples))
    keys = [key for key in ("instances", "inputs") if found.get(key) is not None]
    if len(keys) != 1:
        there = "both" if keys else "neither"
        raise BadRequestError(f"expected either instances, one entry a sample, or inputs, whole tensors, found {there}")
    if keys == ["inputs"]:
        return Decoded(_tensors(found["inputs"], signature, steps))
    instances = found["instances"]
    if not isinstance(instances, list) or not instances:
        found_instead = json_faults.spelled(instances)
        raise BadRequestError(f"instances: expected a list with at least one sample, found {found_instead}")
    return Decoded(_samples(instances, signature, steps), len(instances))


def encode_predictions(outputs: Arrays, *, samples: int | None) -> bytes:
    """Return the answer of `:predict`, whole tensors where no `samples` were listed.

    Raises:
        BadRequestError: by sample, where an output has not one row a sample.
    """
    if samples is not None:
        _check_answers(outputs, samples)
    hold_written(outputs.values())
    if samples is None:
        return msgspec.json.encode(
            {"outputs": _bare({name: many_numbers.listed(array) for name, array in outputs.items()})}
        )
    if len(outputs) == 1:
        return msgspec.json.encode({"predictions": many_numbers.listed(next(iter(outputs.values())))})
    step = max(1, pieces.MOST_WHOLE * samples // max(1, sum(array.size for array in outputs.values())))
    rows = (
        [dict(zip(outputs, row, strict=True)) for row in zip(*_cut(outputs, start, start + step), strict=True)]
        for start in range(0, samples, step)
    )
    return msgspec.json.encode({"predictions": msgspec.Raw(pieces.joined(rows, many_numbers.encoder(outputs)))})


def encode_classes(outputs: Arrays, labels: Sequence[str] | None, *, samples: int) -> bytes:
    """Return the answer of `:classify`: for each sample, pairs of label (or index) and score.

    Raises:
        BadRequestError: no output has one score a class for each sample.
    """
    for array in outputs.values():
        if (
            array.ndim == 2
            and array.dtype is not OBJECT
            and len(array) == samples
            and (labels is None or array.shape[1] == len(labels))
        ):
            names = labels or [str(index) for index in range(array.shape[1])]
            hold_written([array])
            step = max(1, pieces.MOST_WHOLE // max(1, array.shape[1]))
            rows = (
                [list(map(list, zip(names, row, strict=True))) for row in array[start : start + step].tolist()]
                for start in range(0, len(array), step)
            )
            return msgspec.json.encode({"results": msgspec.Raw(pieces.joined(rows, many_numbers.encoder(outputs)))})
    raise BadRequestError("the model gives no scores by class: ask it by :predict")


def encode_values(outputs: Arrays, *, samples: int) -> bytes:
    """Return the answer of `:regress`: one value a sample.

    Raises:
        BadRequestError: no output has one value a sample.
    """
    for array in outputs.values():
        if array.ndim >= 1 and array.size == len(array) == samples and array.dtype is not OBJECT:
            hold_written([array])
            return msgspec.json.encode({"results": many_numbers.listed(array.reshape(-1))})
    raise BadRequestError("the model gives no single value a sample: ask it by :predict")


def status(version: str, *, available: bool) -> dict[str, Any]:
    """Return the answer to `GET /v1/models/M`; KServe's clients read `ready`, others the rest."""
    state = {
        "version": str(Version(version).numeric) if version else "0",
        "state": "AVAILABLE" if available else "LOADING",
        "status": {"error_code": "OK", "error_message": ""},
    }
    return {"model_version_status": [state], "ready": available}


def metadata(name: str, manifest: Manifest) -> dict[str, Any]:
    """Return the answer to `GET /v1/models/M/metadata`, under TensorFlow Serving's keys and `ovmsclient`'s."""
    spec = {"name": name, "signatureName": "", "version": str(Version(manifest.version).numeric)}
    signature = {
        "inputs": {tensor.name: _tensor_info(tensor) for tensor in manifest.signature.inputs},
        "outputs": {tensor.name: _tensor_info(tensor) for tensor in manifest.signature.outputs},
        "methodName": "tensorflow/serving/predict",
        "method_name": "tensorflow/serving/predict",
    }
    definitions = {_SIGNATURE: signature}
    return {
        "model_spec": spec | {"signature_name": ""},
        "modelSpec": spec,
        "metadata": {"signature_def": {"signature_def": definitions, "signatureDef": definitions}},
    }


def _parse(body: bytes) -> dict[str, Any]:
    hold_parsed(body)
    try:
        found = msgspec.json.decode(body)
    except json_faults.FAULTS:
        found = _parse_with_tokens(body)
    if not isinstance(found, dict):
        kind = "a list" if isinstance(found, list) else json_faults.spelled(found)
        raise BadRequestError(f'expected an object such as {{"instances": [[…]]}}, found {kind}')
    return found


def _parse_with_tokens(body: bytes) -> Any:
    """Read JSON that may have NaN and Infinity, but as these words alone: 1e400 is none."""
    try:
        return json.loads(body, parse_float=_finite)
    except (ValueError, RecursionError) as err:
        raise BadRequestError(f"{_EXPECTED}: {json_faults.told(err, body)}") from err


def _finite(spelled: str) -> float:
    value = float(spelled)
    if math.isinf(value):
        raise BadRequestError(f"{_EXPECTED}: a number is out of range")
    return value


def _examples(found: dict[str, Any]) -> list[dict[str, Any]]:
    examples, context = found.get("examples"), found.get("context")
    context = {} if context is None else context
    if not isinstance(examples, list) or not examples or not all(isinstance(e, dict) for e in [*examples, context]):
        raise BadRequestError(
            f"expected examples, a list of objects of features by input, found {json_faults.spelled(examples)}"
        )
    return [context | example for example in examples]


def _samples(samples: list[Any], signature: Signature, steps: Declared) -> dict[str, Array]:
    """Return the inputs of a list of samples, stacked."""
    fixed = [spec.name for spec in signature.inputs if spec.shape[:1] not in {(-1,), (len(samples),)}]
    if fixed:
        raise BadRequestError(
            f"{len(samples)} samples: the model takes {describe(signature.inputs)}: send whole tensors as inputs"
        )
    _check_rows(len(samples), signature)
    names = [spec.name for spec in signature.inputs]
    if row_records.are_records(samples):
        return row_records.read(samples, signature, steps)
    if len(names) != 1:
        raise BadRequestError(f"expected samples with inputs by name; the model takes {describe(signature.inputs)}")
    return {names[0]: read_input(samples, signature.inputs[0], steps.get(names[0]))}


def _quickly_read(inputs: dict[str, Array], signature: Signature, *, by_sample: bool) -> Decoded:
    if not by_sample:
        return Decoded(inputs)
    count = len(next(iter(inputs.values())))
    _check_rows(count, signature)
    return Decoded(inputs, count)


def _check_rows(count: int, signature: Signature) -> None:
    """Refuse samples where the signature knows that an output has not one row for each of them.

    An output of as many rows as samples by chance, such as one whose first axis is always 2, is none of rows.
    """
    for spec in signature.outputs:
        first = spec.shape[0] if spec.shape else None
        if first != -1 and (first != count or (count > 1 and any(one.shape[:1] == (-1,) for one in signature.inputs))):
            raise BadRequestError(_no_rows(f"{spec.name} is {describe((spec,)).partition(' ')[2]}"))


def _no_rows(why: str) -> str:
    return f"the model does not answer by samples ({why}): send whole tensors as inputs, not instances or examples"


def _tensors(found: Any, signature: Signature, steps: Declared) -> dict[str, Array]:
    specs = {spec.name: spec for spec in signature.inputs}
    if not isinstance(found, dict) or "b64" in found:
        if len(specs) != 1:
            raise BadRequestError(f"expected inputs by name; the model takes {describe(signature.inputs)}")
        found = {signature.inputs[0].name: found}
    check_names(found, signature)
    return {name: read_input(value, specs[name], steps.get(name)) for name, value in found.items()}


def _check_answers(outputs: Arrays, samples: int) -> None:
    """Refuse outputs that have not one row for each of the samples."""
    for name, array in outputs.items():
        if array.ndim == 0 or len(array) != samples:
            found = f"{len(array)} rows" if array.ndim else "no rows"
            raise BadRequestError(_no_rows(f"{name} has {found} for {samples} of them"))


def _cut(outputs: Arrays, start: int, end: int) -> list[list[Any]]:
    return [array[start:end].tolist() for array in outputs.values()]


def _bare(values: dict[str, Any]) -> Any:
    return next(iter(values.values())) if len(values) == 1 else values


def _tensor_info(spec: TensorSpec) -> dict[str, Any]:
    shape = {"dim": [{"size": str(length), "name": ""} for length in spec.shape], "unknown_rank": False}
    camel = {"dim": shape["dim"], "unknownRank": False}
    return {"dtype": _TYPES[spec.dtype], "tensor_shape": shape, "tensorShape": camel, "name": spec.name}
