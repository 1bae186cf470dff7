"""How each server is asked about an image, and what it answers. Pure.

An image is int8[1, 32, 32, 3] as the model's file takes it, and an answer int8[1, 10] as the file gives it; where a
protocol carries float32, the values are what the file's quantization makes of them, which is exact here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

Int8: TypeAlias = npt.NDArray[np.int8]

MODEL, INPUT, OUTPUT = "ic", "x", "y"
IMAGE, SCORES = (1, 32, 32, 3), (1, 10)
LENGTH = "Inference-Header-Content-Length"
IN_ZERO, OUT_SCALE, OUT_ZERO = -128, 1 / 256, -128
"""The quantization of the file: an input's scale is 1."""
_V2 = f"/v2/models/{MODEL}/infer"


@dataclass(frozen=True)
class Request:
    """A POST."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Protocol:
    """A pair: image → request, and the answer's body and headers → scores."""

    name: str
    ask: Callable[[Int8], Request]
    read: Callable[[bytes, Mapping[str, str]], Int8]


def to_float(image: Int8) -> npt.NDArray[np.float32]:
    """Return an image as the float32 model takes it."""
    return image.astype(np.float32) - np.float32(IN_ZERO)


def from_float(scores: npt.NDArray[np.float32]) -> Int8:
    """Return float32 scores as the file gave them."""
    steps: npt.NDArray[np.float32] = np.rint(scores / np.float32(OUT_SCALE)) + OUT_ZERO
    return steps.astype(np.int8)


def _ask_binary(image: Int8) -> Request:
    return _binary(image.astype("<i1"), "INT8")


def _ask_binary_float(image: Int8) -> Request:
    return _binary(to_float(image).astype("<f4"), "FP32")


def _binary(values: npt.NDArray[Any], datatype: str) -> Request:
    tensor = {
        "name": INPUT, "shape": IMAGE, "datatype": datatype, "parameters": {"binary_data_size": values.nbytes},
    }  # fmt: skip
    head = msgspec.json.encode({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    headers = {LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
    return Request(_V2, head + values.tobytes(), headers)


def _tail(body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return the raw tensor behind the JSON of an answer."""
    return body[int({name.lower(): value for name, value in headers.items()}[LENGTH.lower()]) :]


def _read_binary(body: bytes, headers: Mapping[str, str]) -> Int8:
    return np.frombuffer(_tail(body, headers), np.int8).reshape(SCORES)


def _read_binary_float(body: bytes, headers: Mapping[str, str]) -> Int8:
    return from_float(np.frombuffer(_tail(body, headers), "<f4").reshape(SCORES))


def _ask_v2_json(image: Int8) -> Request:
    tensor = {"name": INPUT, "shape": IMAGE, "datatype": "INT8", "data": image.ravel().tolist()}
    return _json(_V2, {"inputs": [tensor]})


def _read_v2_json(body: bytes, _headers: Mapping[str, str]) -> Int8:
    return np.array(msgspec.json.decode(body)["outputs"][0]["data"], np.int8).reshape(SCORES)


def _ask_people(image: Int8) -> Request:
    return _json(f"/predict/{MODEL}", {"inputs": image.tolist()})


def _read_people(body: bytes, _headers: Mapping[str, str]) -> Int8:
    return np.array(msgspec.json.decode(body)["outputs"][OUTPUT], np.int8).reshape(SCORES)


def _ask_nested(image: Int8) -> Request:
    return _json("/predict", {INPUT: image.tolist()})


def _read_bare(body: bytes, _headers: Mapping[str, str]) -> Int8:
    return np.array(msgspec.json.decode(body), np.int8).reshape(SCORES)


def _ask_flat(image: Int8) -> Request:
    return _json("/predict", {INPUT: image.ravel().tolist()})


def _read_named(body: bytes, _headers: Mapping[str, str]) -> Int8:
    return np.array(msgspec.json.decode(body)[OUTPUT], np.int8).reshape(SCORES)


def _json(path: str, value: Any) -> Request:
    return Request(path, msgspec.json.encode(value), {"Content-Type": "application/json"})


V2_BINARY = Protocol("v2 binary, int8", _ask_binary, _read_binary)
V2_BINARY_FLOAT = Protocol("v2 binary, float32", _ask_binary_float, _read_binary_float)
V2_JSON = Protocol("v2 JSON", _ask_v2_json, _read_v2_json)
PEOPLE = Protocol("/predict JSON", _ask_people, _read_people)
BENTO_JSON = Protocol("JSON", _ask_nested, _read_bare)
LIT_JSON = Protocol("JSON", _ask_flat, _read_named)
