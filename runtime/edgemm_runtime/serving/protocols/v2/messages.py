"""The messages of the Open Inference Protocol v2, and their conversion between bytes and arrays. Pure.

Request and response are JSON, with the binary tensor extension: a body is the JSON, as long as the header
`Inference-Header-Content-Length` says, and then the raw tensors in listed order, little-endian and row-major.
JSON has no NaN and no infinity: in requests they are refused, in answers they become `null`; binary carries them.
`null` among the data of an input that takes missing values is NaN. Tensors of strings are of type BYTES, UTF-8 an
element; so may be an input that the bundle makes of images, an image an element.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType

from edgemm.bundle.engine_facts import facts_of
from edgemm.bundle.manifest import DType, Manifest, Preprocessing, Signature, TensorSpec, Variant, VariantTensor
from edgemm.errors import BadRequestError
from edgemm_runtime.http import json_faults
from edgemm_runtime.memory.memory_budget import hold
from edgemm_runtime.preprocessing import image_inputs
from edgemm_runtime.serving.protocols.v2 import bytes_tensors, string_elements
from edgemm_runtime.serving.protocols.v2.raw_tensors import RawTensors, raw_parameters
from edgemm_runtime.serving.protocols.v2.timeouts import timeout_s
from edgemm_runtime.tensors import pieces
from edgemm_runtime.tensors.element_types import OBJECT, dtype_of
from edgemm_runtime.tensors.inputs import as_column, check_names, describe, fits, is_column
from edgemm_runtime.tensors.json_memory import hold_written
from edgemm_runtime.tensors.named_arrays import Array, Arrays
from edgemm_runtime.tensors.numbers import read_numbers
from edgemm_runtime.tensors.stored_integers import StoredForm, stored_tensors

HEADER_LENGTH = "Inference-Header-Content-Length"
EXTENSIONS = ("binary_tensor_data", "statistics", "model_configuration", "sequence")
DATATYPES: Mapping[DType, str] = {
    DType.BOOL: "BOOL", DType.INT8: "INT8", DType.INT16: "INT16", DType.INT32: "INT32", DType.INT64: "INT64",
    DType.UINT8: "UINT8", DType.UINT16: "UINT16", DType.UINT32: "UINT32", DType.UINT64: "UINT64",
    DType.FLOAT16: "FP16", DType.FLOAT32: "FP32", DType.FLOAT64: "FP64", DType.STRING: bytes_tensors.DATATYPE,
}  # fmt: skip
_NO_PARAMETERS: Mapping[str, Any] = MappingProxyType({})
_NULL = b"null"
_UNSUPPORTED = ("classification", "shared_memory_region")


class TensorMetadata(Struct, frozen=True, omit_defaults=True):
    """A tensor as metadata describe it; −1 in `shape` is a variable dimension.

    `parameters` are there where it may be raw, `raw_datatype`, `scale` and `zero_point`, and where NaN, or `null` in
    JSON, stands for a missing value: `missing`.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: dict[str, str | int | float | bool] = {}


class ModelMetadata(Struct, frozen=True):
    """The answer to `GET /v2/models/M`."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class RequestInput(Struct, frozen=True):
    """One input of a request: `data` flat or nested, or `binary_data_size` in its parameters."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: dict[str, Any] = {}
    data: msgspec.Raw | UnsetType = UNSET


class RequestOutput(Struct, frozen=True):
    """One output that a request asks for."""

    name: str
    parameters: dict[str, Any] = {}


class InferHeader(Struct, frozen=True):
    """The JSON part of a request; what the protocol does not name is ignored."""

    inputs: tuple[RequestInput, ...]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: tuple[RequestOutput, ...] = ()


class _NullableInput(Struct, frozen=True):
    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: msgspec.Raw | UnsetType = UNSET


class _NullableOutput(Struct, frozen=True):
    name: str
    parameters: dict[str, Any] | None = None


class _NullableHeader(Struct, frozen=True):
    """The same, of a client that spells out what it leaves out: `null` stands for it everywhere."""

    inputs: tuple[_NullableInput, ...]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: tuple[_NullableOutput, ...] | None = None

    def plain(self) -> InferHeader:
        """Return it with nothing in the place of null."""
        inputs = tuple(
            RequestInput(one.name, one.shape, one.datatype, _given(one.parameters), _data(one.data))
            for one in self.inputs
        )
        outputs = tuple(RequestOutput(one.name, _given(one.parameters)) for one in self.outputs or ())
        return InferHeader(inputs, self.id, _given(self.parameters), outputs)


def _given(parameters: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (parameters or {}).items() if value is not None}


def _data(raw: msgspec.Raw | UnsetType) -> msgspec.Raw | UnsetType:
    return UNSET if raw is UNSET or bytes(raw) == _NULL else raw


class InferRequest(Struct, frozen=True):
    """A decoded request: arrays by name, and which outputs to return, in order, in binary or not.

    `form` names the tensors that are raw, where there are any; `parameters` are those of the whole request; `images`
    tells that an array was made of images, and lies nowhere in the body.
    """

    inputs: dict[str, Array]
    outputs: dict[str, bool]
    id: str | None = None
    form: StoredForm | None = None
    parameters: Mapping[str, Any] = _NO_PARAMETERS
    images: bool = False


class ResponseOutput(Struct, frozen=True, omit_defaults=True):
    """One output of an answer: `data`, or `binary_data_size` in its parameters."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: dict[str, int] = {}
    data: list[Any] | msgspec.Raw | UnsetType = UNSET


class InferResponse(Struct, frozen=True, omit_defaults=True):
    """The JSON part of an answer."""

    model_name: str
    model_version: str
    outputs: list[ResponseOutput]
    id: str | None = None


def model_metadata(name: str, manifest: Manifest, variant: Variant) -> ModelMetadata:
    """Describe a served model."""
    signature = manifest.signature
    raw = stored_tensors(signature.inputs, variant.inputs), stored_tensors(signature.outputs, variant.outputs)
    return ModelMetadata(
        name=name,
        versions=(manifest.version,),
        platform=platform(variant.engine),
        inputs=tuple(_metadata(spec, raw[0]) for spec in signature.inputs),
        outputs=tuple(_metadata(spec, raw[1]) for spec in signature.outputs),
    )


def platform(engine: str) -> str:
    """Return what metadata call an engine."""
    facts = facts_of(engine)
    return facts.platform if facts is not None else engine


def decode_request(
    body: bytes,
    signature: Signature,
    *,
    header_length: str | None = None,
    raw: RawTensors | None = None,
    declared: Mapping[str, Preprocessing] | None = None,
) -> InferRequest:
    """Read a request; `header_length` is the value of the HTTP header `Inference-Header-Content-Length`.

    `raw` are the tensors that may be the file's own integers, `declared` is the bundle's pre-processing.

    Raises:
        BadRequestError: malformed, or not tensors that the signature takes.
        TooLargeError: it has too much JSON, or images that are too large together.
    """
    split = len(body) if header_length is None else read_header_length(header_length, len(body))
    pieces.check_length(split)
    hold(len(body))  # each tensor is a copy of its part
    header = _read_header(json_faults.without_mark(body[:split]))
    timeout_s(header.parameters)
    form = _raw_form(header, signature, raw) if raw is not None else None
    if form is not None and raw is not None:
        signature = raw.signature(form)
    specs = {spec.name: spec for spec in signature.inputs}
    inputs: dict[str, Array] = {}
    position, images = split, False
    for tensor in header.inputs:
        spec = specs.get(tensor.name)
        if spec is None:
            raise BadRequestError(f"unknown input {tensor.name[:80]!r}; the model takes {describe(signature.inputs)}")
        if tensor.name in inputs:
            raise BadRequestError(f"input {tensor.name[:80]!r} is given twice")
        is_bytes = declared is not None and tensor.datatype == bytes_tensors.DATATYPE
        if is_bytes and image_inputs.takes_images(steps := (declared or {}).get(tensor.name)):
            _refuse_unsupported(tensor.parameters)
            files, size = bytes_tensors.read(tensor, memoryview(body)[position:])
            inputs[tensor.name], images = image_inputs.of_files(files, spec, steps), True
        else:
            size = _check_input(tensor, spec)
            inputs[tensor.name] = _read_input(tensor, spec, body[position : position + size])
        position += size
    if position != len(body):
        raise BadRequestError(f"expected {position:,} bytes of JSON and tensors, found {len(body):,}")
    check_names(signature, inputs)
    return InferRequest(inputs, _wanted_outputs(header, signature), header.id, form, header.parameters, images)


def _read_header(text: bytes) -> InferHeader:
    try:
        if _NULL in text:
            return msgspec.json.decode(text, type=_NullableHeader).plain()
        return msgspec.json.decode(text, type=InferHeader)
    except json_faults.FAULTS as err:
        told = json_faults.told(err, text)
        raise BadRequestError(f"the request is not JSON of the Open Inference Protocol v2: {told}") from err


def encode_response(request: InferRequest, outputs: Arrays, *, name: str, version: str) -> tuple[bytes, int | None]:
    """Return the body, and the length of its JSON part where tensors follow it."""
    listed, tensors = [], []
    for output, binary in request.outputs.items():
        array = outputs[output]
        datatype = DATATYPES[dtype_of(array)]
        if binary:
            data = _binary(array)
            tensors.append(data)
            parameters = {"binary_data_size": len(data)}
            listed.append(ResponseOutput(output, datatype, array.shape, parameters))
        else:
            hold_written([array])
            listed.append(ResponseOutput(output, datatype, array.shape, data=pieces.listed(array.ravel())))
    header = msgspec.json.encode(InferResponse(name, version, listed, request.id))
    return b"".join([header, *tensors]), len(header) if tensors else None


def _binary(array: Array) -> bytes:
    if array.dtype is OBJECT:
        return string_elements.packed(array)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


def _metadata(spec: TensorSpec, raw: Mapping[str, VariantTensor]) -> TensorMetadata:
    parameters = raw_parameters(raw[spec.name], DATATYPES) if spec.name in raw else {}
    if spec.missing:
        parameters["missing"] = True
    return TensorMetadata(spec.name, DATATYPES[spec.dtype], spec.shape, parameters)


def _raw_form(header: InferHeader, signature: Signature, raw: RawTensors) -> StoredForm | None:
    if not (raw.takes(header.inputs) or "raw_output" in header.parameters):  # most requests end here
        for output in header.outputs:
            if "raw" in output.parameters:
                break
        else:
            return None
    named = [(output.name, output.parameters) for output in header.outputs]
    wanted: Iterable[tuple[str, Mapping[str, Any]]] = named or [(spec.name, {}) for spec in signature.outputs]
    return raw.asked(header.inputs, wanted, header.parameters)


def read_header_length(text: str, body_bytes: int) -> int:
    """Return what the header says, at most the length of the body.

    Raises:
        BadRequestError: it is no such number.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= body_bytes):
        raise BadRequestError(f"{HEADER_LENGTH}: expected a number up to the {body_bytes:,} bytes, found {text[:40]!r}")
    return int(text)


def _check_input(tensor: RequestInput, spec: TensorSpec) -> int:
    """Compare a tensor's description with the signature; return how many bytes it takes after the JSON."""
    if tensor.datatype != DATATYPES[spec.dtype]:
        found = tensor.datatype[:40]
        raise BadRequestError(f"input {spec.name!r}: expected datatype {DATATYPES[spec.dtype]}, found {found}")
    if not (fits(spec.shape, tensor.shape) or _is_column(spec, tensor.shape)):
        found = str(list(tensor.shape))[:80]
        least = min(tensor.shape, default=1)
        why = ", of which a length is negative: say how many there are" if least < 0 else ""
        why = ", which has no values: send at least one sample" if least == 0 else why
        raise BadRequestError(f"input {spec.name!r}: expected shape {list(spec.shape)}, found {found}{why}")
    _refuse_unsupported(tensor.parameters)
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        return 0
    if spec.dtype is DType.STRING:
        expected = size if type(size) is int and size >= 0 else math.prod(tensor.shape) * string_elements.LEAST_BYTES
    else:
        expected = math.prod(tensor.shape) * np.dtype(spec.dtype.value).itemsize
    if type(size) is not int or size != expected:
        raise BadRequestError(
            f"input {spec.name!r}: expected binary_data_size {expected:,}, found {json_faults.spelled(size)}"
        )
    if tensor.data is not UNSET:
        raise BadRequestError(f"input {spec.name!r}: expected data or binary_data_size, found both")
    return expected


def _is_column(spec: TensorSpec, shape: tuple[int, ...]) -> bool:
    """Tell whether a column comes with the axis that the other form of one has: [n] for [n, 1], or the reverse."""
    if not is_column(spec) or len(shape) not in {1, 2}:
        return False
    return shape[0] >= 1 and spec.shape[0] in {-1, shape[0]} and shape[1:] in {(), (1,)}


def _read_input(tensor: RequestInput, spec: TensorSpec, raw: bytes) -> Array:
    if tensor.parameters.get("binary_data_size") is not None:
        found = _read_binary(raw, spec, shape=tensor.shape)
        return found if len(tensor.shape) == len(spec.shape) else as_column(found, spec)
    if tensor.data is UNSET:
        raise BadRequestError(f"input {spec.name!r}: expected data or binary_data_size, found neither")
    found = read_numbers(bytes(tensor.data), spec, shape=tensor.shape)
    return found if len(tensor.shape) == len(spec.shape) else as_column(found, spec)


def _read_binary(raw: bytes, spec: TensorSpec, *, shape: tuple[int, ...]) -> Array:
    if spec.dtype is DType.STRING:
        return string_elements.read(raw, spec.name, shape=shape)
    dtype = np.dtype(spec.dtype.value)
    if len(raw) != (expected := math.prod(shape) * dtype.itemsize):
        raise BadRequestError(f"input {spec.name!r}: expected {expected:,} bytes after the JSON, found {len(raw):,}")
    array = np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)
    if spec.dtype is DType.BOOL and (array.view(np.uint8) > 1).any():
        raise BadRequestError(f"input {spec.name!r}: expected a byte 0 or 1 for each BOOL, found another")
    return array


def _wanted_outputs(header: InferHeader, signature: Signature) -> dict[str, bool]:
    """Return the outputs to answer with, in order, and whether each in binary."""
    default = header.parameters.get("binary_data_output") is True
    known = [spec.name for spec in signature.outputs]
    wanted: Sequence[RequestOutput] = header.outputs or [RequestOutput(name) for name in known]
    outputs: dict[str, bool] = {}
    for output in wanted:
        if output.name not in known:
            raise BadRequestError(f"unknown output {output.name[:80]!r}; the model gives {describe(signature.outputs)}")
        if output.name in outputs:
            raise BadRequestError(f"output {output.name!r} is asked for twice")
        _refuse_unsupported(output.parameters)
        outputs[output.name] = output.parameters.get("binary_data", default) is True
    return outputs


def _refuse_unsupported(parameters: Mapping[str, Any]) -> None:
    for name in _UNSUPPORTED:
        if name in parameters:
            here = ", ".join(EXTENSIONS)
            raise BadRequestError(f"parameter {name!r} is of an extension that is not here; here: {here}")
