"""Open Inference Protocol v2: the messages, and between their bytes and arrays. Pure.

Request and response are JSON, with the binary tensor extension: a body is the JSON, as long as the header
`Inference-Header-Content-Length` says, and then the raw tensors in listed order, little-endian and row-major.
JSON has no NaN and no infinity: in requests they are refused, in answers they become `null`; binary carries them.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType

from edgemm.errors import BadRequestError
from edgemm.manifest import DType, Engine, Manifest, Signature, TensorSpec, Variant
from edgemm_runtime.engines.inputs import describe, fits
from edgemm_runtime.engines.model import Array, Arrays
from edgemm_runtime.numbers import read_canonical, read_numbers

HEADER_LENGTH = "Inference-Header-Content-Length"
EXTENSIONS = ("binary_tensor_data", "statistics", "model_configuration")
DATATYPES: Mapping[DType, str] = {
    DType.BOOL: "BOOL", DType.INT8: "INT8", DType.INT16: "INT16", DType.INT32: "INT32", DType.INT64: "INT64",
    DType.UINT8: "UINT8", DType.UINT16: "UINT16", DType.UINT32: "UINT32", DType.UINT64: "UINT64",
    DType.FLOAT16: "FP16", DType.FLOAT32: "FP32", DType.FLOAT64: "FP64",
}  # fmt: skip
_PLATFORMS = {Engine.TFLITE: "litert_tflite", Engine.ONNX: "onnxruntime_onnx"}
_UNSUPPORTED = ("classification", "shared_memory_region")
_MOST_REMEMBERED = 64
_LARGEST_REMEMBERED = 2048
_DATA = re.compile(rb'"data"\s*:\s*\[')


class TensorMetadata(Struct, frozen=True):
    """A tensor as metadata describe it; −1 in `shape` is a variable dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]


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


class InferRequest(Struct, frozen=True):
    """A decoded request: arrays by name, and which outputs to return, in order, in binary or not."""

    inputs: dict[str, Array]
    outputs: dict[str, bool]
    id: str | None = None


class _Plan(Struct, frozen=True):
    """Where in the body the tensors of a binary request lie, whose JSON part was read before."""

    inputs: tuple[tuple[str, np.dtype[Any], tuple[int, ...], int, int], ...]
    body_bytes: int
    outputs: dict[str, bool]


class _Flat(Struct, frozen=True):
    """What a request without binary tensors says around the numbers of its one input."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    outputs: dict[str, bool]


class Codec:
    """Between the bytes and arrays of one model.

    The JSON part of binary requests is the same again and again, but for the tensors behind it: what it was found to
    say is remembered by its bytes, where it bears no id. So is what is around one list of 8-bit integers in JSON.
    """

    def __init__(self, signature: Signature, *, name: str, version: str) -> None:
        self._signature, self._name, self._version = signature, name, version
        self._plans: dict[bytes, _Plan] = {}
        self._flats: dict[tuple[bytes, bytes], _Flat] = {}
        self._headers: dict[tuple[object, ...], bytes] = {}

    def decode(self, body: bytes, *, header_length: str | None = None) -> InferRequest:
        """Read a request; as `decode_request`."""
        if header_length is None:
            return self._decode_json(body)
        head = body[: _header_length(header_length, len(body))]
        plan = self._plans.get(head)
        if plan is not None and plan.body_bytes == len(body):
            arrays = {
                name: np.frombuffer(body, dtype, count, start).reshape(shape)
                for name, dtype, shape, start, count in plan.inputs
            }
            return InferRequest(arrays, plan.outputs)
        request = decode_request(body, self._signature, header_length=header_length)
        self._remember(head, request, body_bytes=len(body))
        return request

    def encode(self, request: InferRequest, outputs: Arrays) -> tuple[bytes, int | None]:
        """Return the body, and the length of its JSON part where tensors follow it; as `encode_response`."""
        if request.id is not None or not all(request.outputs.values()):
            return encode_response(request, outputs, name=self._name, version=self._version)
        arrays = [outputs[name] for name in request.outputs]
        form = (*request.outputs, *[array.shape for array in arrays])
        head = self._headers.get(form)
        if head is None or sys.byteorder != "little":
            data, length = encode_response(request, outputs, name=self._name, version=self._version)
            if len(self._headers) < _MOST_REMEMBERED:
                self._headers[form] = data[:length]
            return data, length
        return b"".join([head, *[array.tobytes() for array in arrays]]), len(head)

    def _decode_json(self, body: bytes) -> InferRequest:
        parts = _cut(body)
        if parts is None:
            return decode_request(body, self._signature)
        before, numbers, after = parts
        known = self._flats.get((before, after))
        if known is not None:
            values = read_canonical(numbers, known.dtype, shape=known.shape)
            if values is not None:
                return InferRequest({known.name: values}, known.outputs)
        request = decode_request(body, self._signature)
        if known is None and request.id is None and len(request.inputs) == 1:
            self._remember_flat(before, after, request)
        return request

    def _remember_flat(self, before: bytes, after: bytes, request: InferRequest) -> None:
        """Remember what is around the numbers, if another number there is what the input's data are then."""
        [(name, array)] = request.inputs.items()
        if array.dtype not in {np.dtype(np.int8), np.dtype(np.uint8)}:
            return
        try:
            [tensor] = msgspec.json.decode(before + b"7" + after, type=InferHeader).inputs
        except msgspec.DecodeError:
            return  # it is something else that looks like such a list
        if tensor.data is UNSET or bytes(tensor.data) != b"[7]":
            return
        if len(self._flats) >= _MOST_REMEMBERED:
            self._flats.clear()
        self._flats[before, after] = _Flat(name, DType(array.dtype.name), array.shape, request.outputs)

    def _remember(self, head: bytes, request: InferRequest, *, body_bytes: int) -> None:
        """Remember what a header says, where all its tensors are behind it and of types that take any bits."""
        arrays = request.inputs
        after = sum(array.nbytes for array in arrays.values())
        if request.id is not None or len(head) + after != body_bytes or len(head) > _LARGEST_REMEMBERED:
            return
        if sys.byteorder != "little" or any(array.dtype == np.bool_ for array in arrays.values()):
            return
        inputs, start = [], len(head)
        for name, array in arrays.items():
            inputs.append((name, array.dtype, array.shape, start, array.size))
            start += array.nbytes
        if len(self._plans) >= _MOST_REMEMBERED:
            self._plans.clear()
        self._plans[head] = _Plan(tuple(inputs), body_bytes, request.outputs)


class _ResponseOutput(Struct, frozen=True, omit_defaults=True):
    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: dict[str, int] = {}
    data: list[Any] | UnsetType = UNSET


class _InferResponse(Struct, frozen=True, omit_defaults=True):
    model_name: str
    model_version: str
    outputs: list[_ResponseOutput]
    id: str | None = None


def model_metadata(name: str, manifest: Manifest, variant: Variant) -> ModelMetadata:
    """Describe a served model."""
    signature = manifest.signature
    return ModelMetadata(
        name=name,
        versions=(manifest.version,),
        platform=platform(variant.engine),
        inputs=tuple(_metadata(spec) for spec in signature.inputs),
        outputs=tuple(_metadata(spec) for spec in signature.outputs),
    )


def platform(engine: Engine) -> str:
    """Return what metadata call an engine."""
    return _PLATFORMS[engine]


def decode_request(body: bytes, signature: Signature, *, header_length: str | None = None) -> InferRequest:
    """Read a request; `header_length` is the value of the HTTP header `Inference-Header-Content-Length`.

    Raises:
        BadRequestError: malformed, or not tensors that the signature takes.
    """
    split = len(body) if header_length is None else _header_length(header_length, len(body))
    try:
        header = msgspec.json.decode(body[:split], type=InferHeader)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise BadRequestError(f"the request is not JSON of the Open Inference Protocol v2: {err}") from err
    specs = {spec.name: spec for spec in signature.inputs}
    inputs: dict[str, Array] = {}
    position = split
    for tensor in header.inputs:
        spec = specs.get(tensor.name)
        if spec is None:
            raise BadRequestError(f"unknown input {tensor.name[:80]!r}; the model takes {describe(signature.inputs)}")
        if tensor.name in inputs:
            raise BadRequestError(f"input {tensor.name!r} is given twice")
        size = _check_input(tensor, spec)
        inputs[tensor.name] = _read_input(tensor, spec, body[position : position + size])
        position += size
    if position != len(body):
        raise BadRequestError(f"expected {position:,} bytes of JSON and tensors, found {len(body):,}")
    if missing := set(specs) - set(inputs):
        raise BadRequestError(f"input {min(missing)!r} is missing; the model takes {describe(signature.inputs)}")
    return InferRequest(inputs, _wanted_outputs(header, signature), header.id)


def encode_response(request: InferRequest, outputs: Arrays, *, name: str, version: str) -> tuple[bytes, int | None]:
    """Return the body, and the length of its JSON part where tensors follow it."""
    listed, tensors = [], []
    for output, binary in request.outputs.items():
        array = outputs[output]
        datatype = DATATYPES[DType(array.dtype.name)]
        if binary:
            data = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
            tensors.append(data)
            parameters = {"binary_data_size": len(data)}
            listed.append(_ResponseOutput(output, datatype, array.shape, parameters))
        else:
            listed.append(_ResponseOutput(output, datatype, array.shape, data=array.ravel().tolist()))
    header = msgspec.json.encode(_InferResponse(name, version, listed, request.id))
    return b"".join([header, *tensors]), len(header) if tensors else None


def _cut(body: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return a request as what is before, in, and after what seems to be the list of its one input's numbers."""
    found = _DATA.search(body, 0, _LARGEST_REMEMBERED)
    if found is None:
        return None
    start = found.end()
    end = body.find(b"]", start)
    if end < 0 or len(body) - end > _LARGEST_REMEMBERED or body.find(b"[", start, end) >= 0:
        return None
    return body[:start], body[start:end], body[end:]


def _metadata(spec: TensorSpec) -> TensorMetadata:
    return TensorMetadata(spec.name, DATATYPES[spec.dtype], spec.shape)


def _header_length(text: str, body_bytes: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= body_bytes):
        raise BadRequestError(f"{HEADER_LENGTH}: expected a number up to the {body_bytes:,} bytes, found {text[:40]!r}")
    return int(text)


def _check_input(tensor: RequestInput, spec: TensorSpec) -> int:
    """Compare a tensor's description with the signature; return how many bytes it takes after the JSON."""
    if tensor.datatype != DATATYPES[spec.dtype]:
        found = tensor.datatype[:40]
        raise BadRequestError(f"input {spec.name!r}: expected datatype {DATATYPES[spec.dtype]}, found {found}")
    if not fits(spec.shape, tensor.shape):
        found = str(list(tensor.shape))[:80]
        raise BadRequestError(f"input {spec.name!r}: expected shape {list(spec.shape)}, found {found}")
    _refuse_unsupported(tensor.parameters)
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        return 0
    expected = math.prod(tensor.shape) * np.dtype(spec.dtype.value).itemsize
    if type(size) is not int or size != expected:
        raise BadRequestError(f"input {spec.name!r}: expected binary_data_size {expected:,}, found {str(size)[:40]}")
    if tensor.data is not UNSET:
        raise BadRequestError(f"input {spec.name!r}: expected data or binary_data_size, found both")
    return expected


def _read_input(tensor: RequestInput, spec: TensorSpec, raw: bytes) -> Array:
    if tensor.parameters.get("binary_data_size") is not None:
        return _read_binary(raw, spec, shape=tensor.shape)
    if tensor.data is UNSET:
        raise BadRequestError(f"input {spec.name!r}: expected data or binary_data_size, found neither")
    return read_numbers(bytes(tensor.data), spec, shape=tensor.shape)


def _read_binary(raw: bytes, spec: TensorSpec, *, shape: tuple[int, ...]) -> Array:
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
