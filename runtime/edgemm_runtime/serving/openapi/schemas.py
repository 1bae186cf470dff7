"""JSON Schema 2020-12 for the bodies of a device's endpoints: answers by name, requests by signature. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from edgemm.bundle.manifest import DType, Manifest, TensorSpec
from edgemm.bundle.unknowns import of_preprocessing
from edgemm_runtime.models.late_labels import Label
from edgemm_runtime.monitoring.monitor_report import MonitorReport
from edgemm_runtime.preprocessing.image_kinds import ImageKind
from edgemm_runtime.serving.protocols import sequence_fields
from edgemm_runtime.serving.protocols.v2.messages import DATATYPES, ModelMetadata
from edgemm_runtime.shadow.report import ShadowReports
from edgemm_runtime.tensors.inputs import is_column
from edgemm_runtime.tensors.strings import MOST_CHARACTERS

Schema = dict[str, Any]
_REF = "#/components/schemas/{name}"
_JSON = "application/json"


class Body(Enum):
    """Which request an endpoint takes."""

    INFER = auto()
    PREDICT = auto()
    ONLY = auto()
    """As `PREDICT`, of whichever model is the only one."""
    INSTANCES = auto()
    EXAMPLES = auto()
    LABEL = auto()


def _object(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}


def _list(items: Schema, **limits: int) -> Schema:
    return {"type": "array", "items": items, **limits}


_TEXT: Schema = {"type": "string"}
_NAME_OR_NUMBER: Schema = {"type": ["string", "integer"]}
_FLAG: Schema = {"type": "boolean"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_ANY: Schema = {"type": "object"}
_SEQUENCE = _object(
    {
        sequence_fields.ID: {
            "oneOf": [
                {"type": "integer", "minimum": 1, "maximum": sequence_fields.LARGEST_ID},
                {"type": "string", "minLength": 1, "maxLength": sequence_fields.LONGEST_ID},
            ]
        }
    },
    {sequence_fields.START: _FLAG, sequence_fields.END: _FLAG},
)
_, _STRUCTS = msgspec.json.schema_components((ModelMetadata, MonitorReport, ShadowReports, Label), ref_template=_REF)

_SHOWN_TENSOR = _object({"name": _TEXT, "dtype": _TEXT, "shape": _list({"type": "integer", "minimum": -1})})
_SHOWN_MODEL = _object(
    {"name": _TEXT, "version": {"type": ["string", "null"]}, "ready": _FLAG},
    {
        "inputs": _list(_SHOWN_TENSOR), "outputs": _list(_SHOWN_TENSOR), "image": _FLAG, "labels": _FLAG,
        "stateful": _FLAG,
    },
)  # fmt: skip

ERROR = _object({"error": _TEXT})
ANSWERS: Mapping[str, Schema] = {
    **_STRUCTS,
    "Document": _object({"openapi": _TEXT, "paths": _ANY}),
    "Object": _ANY,
    "ShownModels": _object({"models": _list(_SHOWN_MODEL)}),
    "Text": _TEXT,
    "Health": _object({"ready": _FLAG}),
    "Live": _object({"live": _FLAG}),
    "Ready": _object({"live": _FLAG, "ready": _FLAG}),
    "Server": _object({"name": _TEXT, "version": _TEXT, "extensions": _list(_TEXT)}),
    "ModelReady": _object({"name": _TEXT, "ready": _FLAG}, {"error": _TEXT}),
    "Statistics": _object(
        {"model_stats": _list(_object({"name": _TEXT, "version": _TEXT, "inference_count": _COUNT}))}
    ),
    "Index": _list(_object({"name": _TEXT, "version": _TEXT, "state": {"enum": ["READY", "LOADING"]}})),
    "InferResponse": _object(
        {
            "model_name": _TEXT,
            "model_version": _TEXT,
            "outputs": _list(_object({"name": _TEXT, "datatype": _TEXT, "shape": _list(_COUNT)})),
        },
        {"id": _TEXT},
    ),
    "Prediction": _object({"model": _TEXT, "version": _TEXT, "outputs": _ANY}, {"top": _list({})}),
    "Agreement": _object(
        {"id": _NAME_OR_NUMBER, "model": _TEXT, "version": _TEXT, "predicted": _NAME_OR_NUMBER, "agreed": _FLAG},
        {"row": _COUNT},
    ),
    "ServingStatus": _object(
        {"model_version_status": _list(_object({"version": _TEXT, "state": {"enum": ["AVAILABLE", "LOADING"]}}))},
        {"ready": _FLAG},
    ),
    "ServingPrediction": {"anyOf": [_object({"predictions": _list({})}), _object({"outputs": {}})]},
    "Results": _object({"results": _list({})}),
}


def request_body(body: Body, manifest: Manifest | None) -> Schema:
    """Return a request's body; without a manifest, that of any model."""
    content: Schema = {_JSON: {"schema": _request(body, manifest)}}
    if body is Body.INFER:
        content["application/octet-stream"] = {}
    elif body in {Body.PREDICT, Body.ONLY}:
        content["text/csv"] = {"schema": _TEXT}
        content["multipart/form-data"] = {"schema": _object({"file": {"type": "string", "format": "binary"}})}
        declared = (manifest.preprocessing or {}) if manifest is not None else {}
        if any(of_preprocessing(steps) is None for steps in declared.values()):
            content |= {f"image/{kind.lower()}": {} for kind in ImageKind}
    return {"required": True, "content": content}


def _request(body: Body, manifest: Manifest | None) -> Schema:
    if body is Body.LABEL:
        return {"$ref": _REF.format(name="Label")}
    inputs = manifest.signature.inputs if manifest else ()
    if body is Body.INFER:
        return _infer(inputs, stateful=manifest is not None and bool(manifest.stateful))
    by_name = _object({spec.name: _whole(spec) for spec in inputs})
    whole = {"anyOf": [by_name, _whole(inputs[0])]} if len(inputs) == 1 else by_name
    sample = _object({spec.name: _row(spec) for spec in inputs})
    if body is Body.EXAMPLES:
        return _object({"examples": _list(sample, minItems=1)})
    if body is Body.INSTANCES:
        row = {"anyOf": [sample, _row(inputs[0])]} if len(inputs) == 1 else sample
        return {"oneOf": [_object({"instances": _list(row, minItems=1)}), _object({"inputs": whole})]}
    if manifest is None:
        return {}
    bare = [_whole(inputs[0])] if len(inputs) == 1 else []
    if all(spec.shape[:1] == (-1,) for spec in inputs):
        records = _list(sample, minItems=1)
        whole, bare = {"anyOf": [whole, records]}, [*bare, records]
    return {"anyOf": [*(_object({key: whole}) for key in ("inputs", "X", "instances")), *bare]}


def _infer(inputs: tuple[TensorSpec, ...], *, stateful: bool) -> Schema:
    given = [_infer_input(spec) for spec in inputs]
    listed = _list({"anyOf": given}, minItems=len(given), maxItems=len(given)) if given else _list(_ANY)
    wanted = _list(_object({"name": _TEXT}, {"parameters": _ANY}))
    optional = {"id": {"type": ["string", "null"]}, "outputs": wanted}
    if stateful:
        return _object({"inputs": listed, "parameters": _SEQUENCE}, optional)
    return _object({"inputs": listed}, {**optional, "parameters": _ANY})


def _infer_input(spec: TensorSpec) -> Schema:
    forms = _column_forms(spec) if is_column(spec) else (spec,)
    shapes = [_shape(form.shape) for form in forms]
    shape = shapes[0] if len(shapes) == 1 else {"anyOf": shapes}
    fields: dict[str, Schema] = {
        "name": {"const": spec.name},
        "datatype": {"const": DATATYPES[spec.dtype]},
        "shape": shape,
    }
    data = {"anyOf": [_list(value(spec)), *map(tensor, forms)], "description": "Flat, or nested as shape says."}
    return _object(fields, {"data": data, "parameters": _ANY})


def _shape(shape: tuple[int, ...]) -> Schema:
    dims = [{"type": "integer", "minimum": 1} if size == -1 else {"const": size} for size in shape]
    return {"type": "array", "prefixItems": dims, "minItems": len(dims), "maxItems": len(dims)}


def tensor(spec: TensorSpec, *, by_sample: bool = False) -> Schema:
    """Return nested lists of a tensor's shape; by sample, without its first dimension."""
    schema = value(spec)
    for size in reversed(spec.shape[1:] if by_sample else spec.shape):
        schema = _list(schema, minItems=1) if size == -1 else _list(schema, minItems=size, maxItems=size)
    return schema


def _whole(spec: TensorSpec) -> Schema:
    """Return all that an input may be outside of v2: a column has one axis, two or none."""
    if not is_column(spec):
        return tensor(spec)
    return {"anyOf": [*map(tensor, _column_forms(spec)), value(spec)]}


def _column_forms(spec: TensorSpec) -> tuple[TensorSpec, ...]:
    """Return a column with one axis and with two."""
    return tuple(replace(spec, shape=(spec.shape[0], *rest)) for rest in ((), (1,)))


def _row(spec: TensorSpec) -> Schema:
    """Return a row of an input; that of a column may be a list of one value."""
    if not is_column(spec):
        return tensor(spec, by_sample=True)
    return {"anyOf": [value(spec), _list(value(spec), minItems=1, maxItems=1)]}


def value(spec: TensorSpec) -> Schema:
    """Return one element of an input, which may be missing where the model takes that."""
    if spec.dtype is DType.STRING:
        schema: Schema = {"type": "string", "maxLength": MOST_CHARACTERS}
    else:
        schema = number(spec.dtype)
    return {"anyOf": [schema, {"type": "null"}]} if spec.missing else schema


def number(dtype: DType) -> Schema:
    """Return a number, within what its type holds."""
    kind = np.dtype(dtype.value)
    if kind.kind == "b":
        return _FLAG
    if kind.kind == "f":
        largest = np.finfo(kind).max
        if kind.itemsize == 8:
            return {"type": "number", "minimum": -float(largest), "maximum": float(largest)}
        # What is rounded to the largest value is taken: half a step above it.
        bound = float(largest) + float(largest - np.nextafter(largest, kind.type(0))) / 2
        return {"type": "number", "exclusiveMinimum": -bound, "exclusiveMaximum": bound}
    limits = np.iinfo(kind)
    return {"type": "integer", "minimum": int(limits.min), "maximum": int(limits.max)}
