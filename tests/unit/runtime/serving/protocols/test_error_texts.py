"""Every text that a client can provoke: plain words, and nothing of the libraries below."""

from __future__ import annotations

import gzip
import json
import re
from typing import Any

import pytest

from simulators.device_client import DeviceClient

INFER, V1, PEOPLE = "/v2/models/tiny/infer", "/v1/models/tiny:predict", "/predict/tiny"
OTHERS = ("/v1/models/tiny:classify", "/v1/models/tiny:regress", "/v2/feedback", "/v2/repository/index")
FOREIGN = re.compile(
    r"object at|0x[0-9a-f]{6}|Traceback|msgspec|numpy|werkzeug|[Ff]lask|`|<class|inhomogeneous|setting an array|"
    r"codec can't|JSON is malformed|Expecting|line \d+ column|Error -\d|If you entered the URL|requested URL|NoneType|"
    r"Expected|dtype\(|\bTrue\b|\bFalse\b|\bNone\b"
)
BODIES = (
    b"", b" ", b"{", b"[", b"null", b"[]", b"{}", b"7", b'"a"', b"true", b"\xff", b"\xff\xfe{\0}\0", b"[" * 50_000,
    b'{"inputs": 5}', b'{"inputs": [5]}', b'{"inputs": [{}]}', b'{"inputs": [NaN]}', b'{"inputs": [1e999]}',
    b'{"inputs": [[1, 2, 3, 4]]} x', b'{"instances": [[1, 2', b'{"id": 7, "label": 1}', b'{"id": "a", "label": [true]}',
    b'{"ready": 5}', b'{"inputs": {"\\ud800": 1}}', b'{"inputs": "\x01"}',
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    [[1, 2, 3, 4], [1, 2]], [[1, 2, 3, 4], 5], [[1, 2], [[3]]], [1, 2], [["a"] * 4], [[None] * 4], [[True] * 4],
    [[{}] * 4], [[[1, 2, 3, 4]]], [[]], [], 5, "abc", True, {"y": [1]}, {"x": [[1, 2, 3, 4]], "y": 1}, [[10**400] * 4],
    [[1e39] * 4], {"x": None}, {"x": {"a": 1}},
)  # fmt: skip
TENSORS: tuple[dict[str, Any], ...] = (
    {"shape": [-1, 4]}, {"shape": [2, 4], "data": [[1, 2, 3, 4], [1, 2]]}, {"shape": "x"}, {"shape": [1.5, 4]},
    {"shape": [2**70, 4]}, {"shape": [True, 4]}, {"shape": []}, {"data": ["a"]}, {"data": {"a": 1}}, {"data": "abc"},
    {"data": [True] * 4}, {"data": [10**400] * 4}, {"data": [[[[1, 2, 3, 4]]]]}, {"name": "y"}, {"name": 5},
    {"datatype": "BYTES"}, {"datatype": 5}, {"parameters": 5}, {"parameters": {"binary_data_size": True}},
    {"parameters": {"binary_data_size": [1]}}, {"parameters": {"shared_memory_region": "a"}},
)  # fmt: skip
MESSAGES: tuple[dict[str, Any], ...] = (
    {"id": 5}, {"parameters": {"timeout": "a"}}, {"parameters": {"timeout": True}}, {"outputs": 5},
    {"parameters": {"raw_output": {"a": True}}}, {"outputs": [{"name": "zz"}]}, {"outputs": [{"name": "scores"}] * 2},
    {"outputs": [{"name": "scores", "parameters": {"classification": 2}}]},
)  # fmt: skip


def check(client: DeviceClient, path: str, body: bytes, **headers: str) -> None:
    answer = client.post(path, data=body, headers={name.replace("_", "-"): value for name, value in headers.items()})
    if answer.status_code == 200:
        return
    assert 400 <= answer.status_code < 500, (answer.status_code, path, body[:80])
    assert answer.content_type == "application/json"
    [text] = answer.json.values()
    assert not FOREIGN.search(text), (text, path, body[:80])
    assert "\n" not in text
    same = re.search(r"expected (.+), found (.+)$", text)
    assert same is None or same[1] != same[2], text


@pytest.mark.parametrize("path", [INFER, V1, PEOPLE, *OTHERS])
def test_bodies_of_another_form(client: DeviceClient, path: str) -> None:
    for body in BODIES:
        check(client, path, body)
        check(client, path, body, Content_Encoding="gzip")
        check(client, path, gzip.compress(body)[:-1], Content_Encoding="gzip")
        check(client, path, gzip.compress(body), Content_Encoding="gzip")
        check(client, path, body, Inference_Header_Content_Length=str(len(body)))


@pytest.mark.parametrize("key", ["inputs", "X", "instances", "examples"])
def test_values_of_another_kind_or_shape(client: DeviceClient, key: str) -> None:
    for value in VALUES:
        body = json.dumps({key: value}).encode()
        for path in (PEOPLE, V1, *OTHERS[:2]):
            check(client, path, body)


def test_tensors_and_messages_of_v2(client: DeviceClient) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    for change in TENSORS:
        check(client, INFER, json.dumps({"inputs": [tensor | change]}).encode())
    for change in MESSAGES:
        check(client, INFER, json.dumps({"inputs": [tensor], **change}).encode())
    check(client, INFER, json.dumps({"inputs": [tensor, tensor]}).encode())


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "PROPFIND"])
@pytest.mark.parametrize("path", ["/nope", "/predict", "/v2/models/nope", "/live/x", "/a//b", "/v1/models/a:explain"])
def test_paths_and_methods_that_are_not_here(client: DeviceClient, method: str, path: str) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code in {404, 405}
    assert not FOREIGN.search(answer.json["error"]), answer.json
    if answer.status_code == 405:
        assert f"found {method}" in answer.json["error"]


def test_half_a_character_in_a_name_is_told_and_ends_nothing(client: DeviceClient) -> None:
    for path, key in ((V1, "inputs"), (PEOPLE, "inputs"), (V1, "signature_name")):
        for body in (b'{"%s": {"\\ud800": 1}}', b'{"%s": "\\udfff", "instances": [[1]]}'):
            assert client.post(path, data=body % key.encode()).status_code == 400
    assert client.get("/healthz").status_code == 200


def test_rows_of_different_lengths_are_told_as_such(client: DeviceClient) -> None:
    for path, key in ((PEOPLE, "inputs"), (V1, "instances"), (V1, "inputs")):
        answer = client.post(path, json={key: [[1, 2, 3, 4], [1, 2]]})
        assert "found lists of 2 and of 4 values" in answer.json["error"]
