"""How each server is asked about a sample, and what it answers. Pure.

A sample is int8[1, …] as the model's file takes it, and an answer int8[1, n] as the file gives it; where a protocol
carries float32, the values are what the file's quantization makes of them, and the answer the codes of its values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from benchmarks.serving.subjects import Int8, Subject

MODEL, INPUT, OUTPUT = "ic", "x", "y"
LENGTH = "Inference-Header-Content-Length"
_ANSWER = (1, -1)
_V2 = f"/v2/models/{MODEL}/infer"


@dataclass(frozen=True)
class Request:
    """A POST."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Protocol:
    """A pair: sample → request, and the answer's body and headers → output."""

    name: str
    ask: Callable[[Int8], Request]
    read: Callable[[bytes, Mapping[str, str]], Int8]


def v2_binary_float(subject: Subject) -> Protocol:
    """Return the protocol of a bundle whose signature is float32."""

    def ask(sample: Int8) -> Request:
        return _binary(subject.input.reals(sample).astype("<f4"), "FP32")

    def read(body: bytes, headers: Mapping[str, str]) -> Int8:
        return subject.output.codes(np.frombuffer(_tail(body, headers), "<f4").reshape(_ANSWER))

    return Protocol("v2 binary, float32", ask, read)


def _ask_binary(sample: Int8) -> Request:
    return _binary(sample.astype("<i1"), "INT8")


def _binary(values: npt.NDArray[Any], datatype: str) -> Request:
    tensor = {
        "name": INPUT, "shape": values.shape, "datatype": datatype, "parameters": {"binary_data_size": values.nbytes},
    }  # fmt: skip
    head = msgspec.json.encode({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    headers = {LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
    return Request(_V2, head + values.tobytes(), headers)


def _tail(body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return the raw tensor behind the JSON of an answer."""
    return body[int({name.lower(): value for name, value in headers.items()}[LENGTH.lower()]) :]


def _read_binary(body: bytes, headers: Mapping[str, str]) -> Int8:
    return np.frombuffer(_tail(body, headers), np.int8).reshape(_ANSWER)


def _ask_v2_json(sample: Int8) -> Request:
    tensor = {"name": INPUT, "shape": sample.shape, "datatype": "INT8", "data": sample.ravel().tolist()}
    return _json(_V2, {"inputs": [tensor]})


def _read_v2_json(body: bytes, _headers: Mapping[str, str]) -> Int8:
    return np.array(msgspec.json.decode(body)["outputs"][0]["data"], np.int8).reshape(_ANSWER)


def _ask_people(sample: Int8) -> Request:
    return _json(f"/predict/{MODEL}", {"inputs": sample.tolist()})


def _read_people(body: bytes, _headers: Mapping[str, str]) -> Int8:
    return np.array(msgspec.json.decode(body)["outputs"][OUTPUT], np.int8).reshape(_ANSWER)


def _ask_nested(sample: Int8) -> Request:
    return _json("/predict", {INPUT: sample.tolist()})


def _read_bare(body: bytes, _headers: Mapping[str, str]) -> Int8:
    return np.array(msgspec.json.decode(body), np.int8).reshape(_ANSWER)


def _ask_flat(sample: Int8) -> Request:
    return _json("/predict", {INPUT: sample.ravel().tolist()})


def _read_named(body: bytes, _headers: Mapping[str, str]) -> Int8:
    return np.array(msgspec.json.decode(body)[OUTPUT], np.int8).reshape(_ANSWER)


def _json(path: str, value: Any) -> Request:
    return Request(path, msgspec.json.encode(value), {"Content-Type": "application/json"})


V2_BINARY = Protocol("v2 binary, int8", _ask_binary, _read_binary)
V2_JSON = Protocol("v2 JSON", _ask_v2_json, _read_v2_json)
PEOPLE = Protocol("/predict JSON", _ask_people, _read_people)
BENTO_JSON = Protocol("JSON", _ask_nested, _read_bare)
LIT_JSON = Protocol("JSON", _ask_flat, _read_named)
