"""A fast codec of the Open Inference Protocol v2 for one model: remembers what messages have in common. Pure.

Every answer is the one that `v2.decode_request` and `v2.encode_response` give.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, Struct

from edgemm.bundle.manifest import DType, Preprocessing, Signature
from edgemm_runtime.serving.protocols.v2.messages import (
    DATATYPES,
    InferHeader,
    InferRequest,
    InferResponse,
    ResponseOutput,
    decode_request,
    encode_response,
    read_header_length,
)
from edgemm_runtime.serving.protocols.v2.raw_tensors import RawTensors
from edgemm_runtime.tensors import pieces
from edgemm_runtime.tensors.element_types import OBJECT, dtype_of
from edgemm_runtime.tensors.json_memory import hold_written
from edgemm_runtime.tensors.named_arrays import Array, Arrays
from edgemm_runtime.tensors.numbers import read_canonical
from edgemm_runtime.tensors.stored_integers import StoredForm

_BOOL = np.dtype(np.bool_)
_MOST_REMEMBERED = 64
_LARGEST_REMEMBERED = 2048
_DATA = re.compile(rb'"data"\s*:\s*\[')


class _Plan(Struct, frozen=True):
    """Where in the body the tensors of a binary request lie, whose JSON part was read before."""

    inputs: tuple[tuple[str, np.dtype[Any], tuple[int, ...], int, int], ...]
    body_bytes: int
    outputs: dict[str, bool]
    form: StoredForm | None
    parameters: Mapping[str, Any]


class _Flat(Struct, frozen=True):
    """What a request without binary tensors says around the numbers of its one input."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    outputs: dict[str, bool]
    form: StoredForm | None
    parameters: Mapping[str, Any]


class Codec:
    """Between the bytes and arrays of one model.

    The JSON part of binary requests is the same again and again, but for the tensors behind it: what it was found to
    say is remembered by its bytes, where it bears no id. So is what is around one list of 8-bit integers in JSON.
    """

    def __init__(
        self,
        signature: Signature,
        *,
        name: str,
        version: str,
        raw: RawTensors | None = None,
        declared: Mapping[str, Preprocessing] | None = None,
    ) -> None:
        self._signature, self._name, self._version, self._raw = signature, name, version, raw
        self._declared = declared
        self._has_strings = any(spec.dtype is DType.STRING for spec in signature.outputs)
        self._plans: dict[bytes, _Plan] = {}
        self._flats: dict[tuple[bytes, bytes], _Flat] = {}
        self._headers: dict[tuple[object, ...], bytes] = {}
        self._texts: dict[tuple[object, ...], list[bytes]] = {}

    def decode(self, body: bytes, *, header_length: str | None = None) -> InferRequest:
        """Read a request; as `decode_request`."""
        if header_length is None:
            return self._decode_json(body)
        head = body[: read_header_length(header_length, len(body))]
        plan = self._plans.get(head)
        if plan is not None and plan.body_bytes == len(body):
            arrays = {
                name: np.frombuffer(body, dtype, count, start).reshape(shape)
                for name, dtype, shape, start, count in plan.inputs
            }
            return InferRequest(arrays, plan.outputs, None, plan.form, plan.parameters)
        request = decode_request(
            body, self._signature, header_length=header_length, raw=self._raw, declared=self._declared
        )
        self._remember(head, request, body_bytes=len(body))
        return request

    def encode(self, request: InferRequest, outputs: Arrays) -> tuple[bytes, int | None]:
        """Return the body, and the length of its JSON part where tensors follow it; as `encode_response`."""
        binary = set(request.outputs.values())
        if request.id is not None or len(binary) != 1 or (self._has_strings and True in binary):
            return encode_response(request, outputs, name=self._name, version=self._version)
        arrays = [outputs[name] for name in request.outputs]
        form = (request.form, *request.outputs, *[array.shape for array in arrays])
        if False in binary:
            return self._encode_json(request, arrays, form), None
        head = self._headers.get(form)
        if head is None or sys.byteorder != "little":
            data, length = encode_response(request, outputs, name=self._name, version=self._version)
            if len(self._headers) < _MOST_REMEMBERED:
                self._headers[form] = data[:length]
            return data, length
        return b"".join([head, *[array.tobytes() for array in arrays]]), len(head)

    def _encode_json(self, request: InferRequest, arrays: Sequence[Array], form: tuple[object, ...]) -> bytes:
        """Do what `encode_response` does for outputs that are all in JSON, from what is remembered around them."""
        text = self._texts.get(form)
        if text is None:
            text = [msgspec.json.encode(InferResponse(self._name, self._version, []))[:-2]]
            for name, array in zip(request.outputs, arrays, strict=True):
                described = ResponseOutput(name, DATATYPES[dtype_of(array)], array.shape)
                text[-1] += msgspec.json.encode(described)[:-1] + b',"data":'
                text.append(b"},")
            text[-1] = b"}]}"
            if len(self._texts) < _MOST_REMEMBERED:
                self._texts[form] = text
        hold_written(arrays)
        parts = [text[0]]
        for array, after in zip(arrays, text[1:], strict=True):
            parts += (pieces.json_of(array.ravel()), after)
        return b"".join(parts)

    def _decode_json(self, body: bytes) -> InferRequest:
        parts = _cut(body)
        if parts is None:
            return decode_request(body, self._signature, raw=self._raw, declared=self._declared)
        before, numbers, after = parts
        known = self._flats.get((before, after))
        if known is not None:
            values = read_canonical(numbers, known.dtype, shape=known.shape)
            if values is not None:
                return InferRequest({known.name: values}, known.outputs, None, known.form, known.parameters)
        request = decode_request(body, self._signature, raw=self._raw, declared=self._declared)
        if known is None and request.id is None and len(request.inputs) == 1 and not request.images:
            self._remember_flat(before, after, request)
        return request

    def _remember_flat(self, before: bytes, after: bytes, request: InferRequest) -> None:
        """Remember what is around the numbers, if another number there is what the input's data are then."""
        [(name, array)] = request.inputs.items()
        if array.dtype not in {np.dtype(np.int8), np.dtype(np.uint8)}:
            return
        for number in (b"7", b"8"):  # what follows may be a list of one of them, under the same key
            try:
                [tensor] = msgspec.json.decode(before + number + after, type=InferHeader).inputs
            except msgspec.DecodeError:
                return  # it is something else that looks like such a list
            if tensor.data is UNSET or bytes(tensor.data) != b"[" + number + b"]":
                return
        if len(self._flats) >= _MOST_REMEMBERED:
            self._flats.clear()
        self._flats[before, after] = _Flat(
            name, DType(array.dtype.name), array.shape, request.outputs, request.form, request.parameters
        )

    def _remember(self, head: bytes, request: InferRequest, *, body_bytes: int) -> None:
        """Remember what a header says, where all its tensors are behind it and of types that take any bits."""
        arrays = request.inputs
        after = sum(array.nbytes for array in arrays.values())
        if (
            request.images
            or request.id is not None
            or len(head) + after != body_bytes
            or len(head) > _LARGEST_REMEMBERED
        ):
            return
        if sys.byteorder != "little" or any(array.dtype in {_BOOL, OBJECT} for array in arrays.values()):
            return
        inputs, start = [], len(head)
        for name, array in arrays.items():
            # The one object of its type, by which what computes knows that there is nothing to cast.
            inputs.append((name, np.dtype(array.dtype.name), array.shape, start, array.size))
            start += array.nbytes
        if len(self._plans) >= _MOST_REMEMBERED:
            self._plans.clear()
        self._plans[head] = _Plan(tuple(inputs), body_bytes, request.outputs, request.form, request.parameters)


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
