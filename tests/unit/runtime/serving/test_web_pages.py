"""Web pages of other origins: who may ask from a browser, and what its browser is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.access import Access
from simulators.device_client import DeviceAnswer, DeviceClient
from tests.unit.runtime.conftest import Connect

KEY = "0123456789abcdef"
PANEL, OTHER = "https://panel.example", "http://192.0.2.7:3000"
ROW = json.dumps([[0.5, -0.5, 0.25, 1.0]]).encode()
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type, x-api-key"}
CHANGING = {
    "/predict": ROW,
    "/v2/models/tiny/infer": b"{}",
    "/v1/models/tiny:predict": b"{}",
    "/v2/feedback": b'{"id": "1", "label": 0}',
    "/v2/repository/models/tiny/load": b"",
    "/v2/repository/models/tiny/unload": b"",
    "/nowhere": b"",
}


@pytest.fixture
def closed(registry: ModelRegistry, connect: Connect) -> DeviceClient:
    return connect(registry)


@pytest.fixture
def opened(registry: ModelRegistry, connect: Connect) -> DeviceClient:
    limits = ServingLimits(max_body_bytes=10_000, compress_bytes=10)
    return connect(registry, limits=limits, access=Access(api_key=KEY, origins={PANEL, OTHER}))


def cors(answer: DeviceAnswer) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items() if name.lower().startswith("access-")}


def varies(answer: DeviceAnswer) -> set[str]:
    [told] = answer.headers.get_all("Vary") or []
    return {name.strip().lower() for name in told.split(",")}


def test_without_an_option_no_page_may_ask(closed: DeviceClient) -> None:
    asked = closed.open("/predict", method="OPTIONS", headers={"Origin": PANEL, **PREFLIGHT})
    assert cors(asked) == {}
    assert cors(closed.get("/v2", headers={"Origin": PANEL})) == {}


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json"])
@pytest.mark.parametrize("path", CHANGING)
@pytest.mark.parametrize("origin", [PANEL, "null", "http://127.0.0.1:1", "http://page.example", "nonsense", ""])
def test_what_a_strange_page_sends_is_refused_whatever_it_calls_it(
    closed: DeviceClient, origin: str, path: str, content_type: str
) -> None:
    answer = closed.post(path, data=CHANGING[path], content_type=content_type, headers={"Origin": origin})
    assert (answer.status_code, cors(answer)) == (403, {})
    assert "web pages" in answer.json["error"]


def test_a_name_that_a_stranger_points_here_is_no_page_of_ours(closed: DeviceClient) -> None:
    rebound = {"Host": "page.example:8080", "Origin": "http://page.example:8080"}
    refused = closed.post("/predict", data=ROW, headers=rebound)
    assert refused.status_code == 403
    assert "--cors http://page.example:8080" in refused.json["error"]


def test_the_page_of_the_device_itself_may_ask(closed: DeviceClient, opened: DeviceClient) -> None:
    for name in ("127.0.0.1:8080", "pi.local:8080", "raspberrypi", "[::1]:8080"):
        asked = {"Host": name, "Origin": f"http://{name}"}
        assert closed.post("/predict", data=ROW, headers=asked).status_code == 200
    by_key = {"Host": "device.example", "Origin": "http://device.example", "X-API-Key": KEY}
    assert opened.post("/predict", data=ROW, headers=by_key).status_code == 200


@pytest.mark.parametrize("origin", [PANEL, OTHER])
def test_a_preflight_is_answered_without_the_key(opened: DeviceClient, origin: str) -> None:
    answer = opened.open("/predict", method="OPTIONS", headers={"Origin": origin, **PREFLIGHT})
    told = cors(answer)
    assert (answer.status_code, answer.data) == (204, b"")
    assert told["access-control-allow-origin"] == origin
    assert "POST" in told["access-control-allow-methods"].split(", ")
    assert told["access-control-allow-headers"] == "content-type, x-api-key"
    assert "access-control-allow-private-network" not in told
    assert {"origin", "access-control-request-headers"} <= varies(answer)


def test_a_browser_that_asks_for_the_private_network_gets_it(opened: DeviceClient) -> None:
    asked = {"Origin": PANEL, **PREFLIGHT, "Access-Control-Request-Private-Network": "true"}
    answer = opened.open("/predict", method="OPTIONS", headers=asked)
    assert cors(answer)["access-control-allow-private-network"] == "true"
    assert "access-control-request-private-network" in varies(answer)


@pytest.mark.parametrize("headers", ["a" * 5000, "x-a\x0bb: c", "content-type;"])
def test_headers_that_are_none_are_not_repeated(opened: DeviceClient, headers: str) -> None:
    asked = {"Origin": PANEL, **PREFLIGHT, "Access-Control-Request-Headers": headers}
    answer = opened.open("/predict", method="OPTIONS", headers=asked)
    assert len(cors(answer).get("access-control-allow-headers", "")) <= 1024
    assert ";" not in str(cors(answer))


@pytest.mark.parametrize("origin", ["https://panel.example.evil.example", "http://panel.example", "null", "*"])
def test_another_page_is_told_nothing(opened: DeviceClient, origin: str) -> None:
    for headers in ({"Origin": origin, **PREFLIGHT}, {"Origin": origin, **PREFLIGHT, "X-API-Key": KEY}):
        answer = opened.open("/predict", method="OPTIONS", headers=headers)
        assert cors(answer) == {}
        assert "origin" in varies(answer), "a cache must not give one page's answer to another"
    assert opened.post("/predict", data=ROW, headers={"Origin": origin, "X-API-Key": KEY}).status_code == 403


ASKED: dict[str, tuple[int, dict[str, Any]]] = {
    "a prediction": (200, {"path": "/predict", "data": ROW}),
    "no key": (401, {"path": "/predict", "data": ROW, "key": ""}),
    "no such path": (404, {"path": "/nowhere"}),
    "a bad body": (400, {"path": "/predict", "data": b"["}),
    "too large a body": (413, {"path": "/predict", "data": b" " * 10_001}),
    "health, without a key": (405, {"path": "/healthz", "key": ""}),
}


@pytest.mark.parametrize("case", ASKED)
def test_every_answer_can_be_read_by_the_page(opened: DeviceClient, case: str) -> None:
    status, asked = ASKED[case]
    headers = {"Origin": PANEL, "X-API-Key": asked.get("key", KEY), "Accept-Encoding": "gzip"}
    answer = opened.post(asked["path"], data=asked.get("data", b""), headers=headers)
    assert answer.status_code == status
    assert cors(answer)["access-control-allow-origin"] == PANEL
    assert "retry-after" in cors(answer)["access-control-expose-headers"].lower()
    assert "origin" in varies(answer)


def test_the_whole_server_tells_what_it_takes(closed: DeviceClient, opened: DeviceClient) -> None:
    for client in (closed, opened):
        answer = client.open("*", method="OPTIONS")
        assert (answer.status_code, answer.headers["Allow"]) == (200, "GET, HEAD, POST, OPTIONS")
