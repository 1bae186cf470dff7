"""The table of routes: what stands in it once is found everywhere, and what does not is found nowhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from edgemm_runtime.engines.choice import AUTO
from edgemm_runtime.http.exchange import Reply, Request, json_body
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.loader import Loader
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.access import Access
from edgemm_runtime.serving.management import LoopbackAddress, ManagementServer
from edgemm_runtime.serving.pages.asked import Asked
from edgemm_runtime.serving.protocols.endpoints import Question
from edgemm_runtime.serving.routes import ROUTES, DeviceRoute, Listener, routes_at
from edgemm_runtime.serving.server import ModelServer
from simulators.device_client import DeviceClient
from simulators.models import FEATURES, INPUT

KEY = "0123456789abcdef"
BOTH = (Listener.PUBLIC, Listener.MANAGEMENT)
LIMITS = ServingLimits(loops=1, quick_s=10.0)


class ThreadEndpoint:
    """Asks a model and answers with the name of the thread that did."""

    timed = False

    def __init__(self, models: ModelRegistry, _limits: ServingLimits, name: str) -> None:
        self._models, self._name = models, name

    @property
    def model(self) -> str:
        return self._name

    def usual_s(self) -> float:
        return self._models.usual_s(self._name)

    def together(self) -> bool:
        return False

    def read(self, request: Request) -> Question:
        inputs = {INPUT: np.zeros((len(request.body), FEATURES), np.float32)}
        return Question(
            self._models.get(self._name), inputs, lambda _: json_body({"in": threading.current_thread().name})
        )


def see(asked: Asked) -> Reply:
    return json_body({"seen": asked.name, "in": threading.current_thread().name})


def put(asked: Asked) -> Reply:
    return json_body({"put": len(asked.request.body)})


TOYS = (
    DeviceRoute("GET", "/toys/{name}", "See a toy", "Object", handler=see, at=Listener.BOTH),
    DeviceRoute("POST", "/toys/{name}/ask", "Ask a toy", "Object", endpoint=ThreadEndpoint),
    DeviceRoute("POST", "/toys", "Put a toy", "Object", handler=put, at=Listener.MANAGEMENT),
    DeviceRoute("GET", "/toys", "Whether there are toys", "Object", handler=put, at=Listener.MANAGEMENT),
    DeviceRoute("GET", "/toybox", "Whether it is open", "Object", handler=put, at=Listener.MANAGEMENT, keyless=True),
)

Serve = Callable[..., DeviceClient]


@pytest.fixture
def serve(registry: ModelRegistry, bundle_path: Path) -> Iterator[Serve]:
    """Serves a table at one of the two addresses."""
    with ExitStack() as stack:

        def serve(
            listener: Listener, routes: Sequence[DeviceRoute] = (*ROUTES, *TOYS), *, key: str | None = None
        ) -> DeviceClient:
            access = Access(api_key=key)
            if listener is Listener.PUBLIC:
                server = stack.enter_context(ModelServer(registry, limits=LIMITS, access=access, routes=routes))
                return stack.enter_context(DeviceClient(server.address))
            loader, here = Loader(registry, {"tiny": bundle_path}, policy=AUTO), LoopbackAddress("127.0.0.1", 0)
            management = stack.enter_context(ManagementServer(registry, loader, here, access=access, routes=routes))
            return stack.enter_context(DeviceClient(management.address))

        yield serve


def allowed(client: DeviceClient, path: str) -> set[str]:
    """What a path takes, as OPTIONS and each method that it does not take say alike."""
    answer = client.open(path, method="OPTIONS")
    if answer.status_code == 404:
        return set()
    told = set(answer.headers["Allow"].split(", "))
    assert answer.status_code == 200
    for method in {"GET", "POST", "PUT", "DELETE", "PATCH"} - told:
        refused = client.open(path, method=method)
        assert (refused.status_code, list(refused.json)) == (405, ["error"])
        assert set(refused.headers["Allow"].split(", ")) == told
    return told


@pytest.mark.parametrize("listener", BOTH)
def test_a_toy_is_answered_where_the_table_has_it(serve: Serve, listener: Listener) -> None:
    client = serve(listener)
    assert client.get("/toys/bear").json["seen"] == "bear"
    assert client.get("/toys/a/b").json["seen"] == "a/b"
    assert allowed(client, "/toys/bear") == {"GET", "HEAD", "OPTIONS"}
    head, get = client.open("/toys/bear", method="HEAD"), client.get("/toys/bear")
    assert (head.status_code, head.data, head.content_type) == (200, b"", get.content_type)
    is_public = listener is Listener.PUBLIC
    assert allowed(client, "/toys") == (set() if is_public else {"GET", "HEAD", "POST", "OPTIONS"})
    assert client.post("/toys", data=b"bear").status_code == (404 if is_public else 200)
    assert client.post("/toys/tiny/ask", data=b"?").status_code == (200 if is_public else 405)
    assert allowed(client, "/toys/tiny/ask") == ({"POST", "OPTIONS"} if is_public else {"GET", "HEAD", "OPTIONS"})
    missing = client.get("/games")
    assert (missing.status_code, list(missing.json)) == (404, ["error"])


@pytest.mark.parametrize("listener", BOTH)
def test_a_toy_is_in_the_document_of_its_address(serve: Serve, listener: Listener) -> None:
    paths = serve(listener).get("/openapi.json").json["paths"]
    assert paths["/toys/tiny"]["get"]["summary"] == "See a toy"
    assert ("/toys" in paths) is (listener is Listener.MANAGEMENT)
    assert ("/toys/tiny/ask" in paths) is (listener is Listener.PUBLIC)
    assert not any(path.startswith("/toys") for path in serve(listener, ROUTES).get("/openapi.json").json["paths"])


def test_each_address_documents_what_it_does_with_a_model(serve: Serve) -> None:
    load, infer = "/v2/repository/models/tiny/load", "/v2/models/tiny/infer"
    public = serve(Listener.PUBLIC, ROUTES).get("/openapi.json").json["paths"]
    assert (infer in public, "200" in public[load]["post"]["responses"]) == (True, False)
    managing = serve(Listener.MANAGEMENT, ROUTES)
    assert managing.post("/v2/repository/models/tiny/unload").status_code == 200
    managed = managing.get("/openapi.json").json["paths"]
    assert infer not in managed
    assert {"200", "403", "409"} <= set(managed[load]["post"]["responses"]), "also of a model that is unloaded"


def test_a_toy_with_an_endpoint_is_asked_in_the_loop_and_others_are_not(serve: Serve) -> None:
    client = serve(Listener.PUBLIC)
    assert client.post("/toys/tiny/ask", data=b"?").json["in"].startswith("edgemm-http")
    assert client.get("/toys/tiny").json["in"] == "edgemm-worker"
    assert client.post("/toys/none/ask", data=b"?").status_code == 404


def test_a_toy_needs_the_key_unless_the_table_says_otherwise(serve: Serve) -> None:
    client = serve(Listener.MANAGEMENT, key=KEY)
    assert client.get("/toybox").status_code == client.get("/toybox/").status_code == 200
    for path in ("/toys", "/toys/bear", "/toys/", "//toybox", "/toybox/../toys", "/games"):
        assert client.get(path).status_code == 401, path
    assert client.get("/toys/bear", headers={"X-API-Key": KEY}).status_code == 200


def concrete(route: DeviceRoute) -> str:
    words = {"{name}": "tiny", "{version}": "1.0.0", "{number}": "1000000", "{verb}": "explain"}
    path = route.path
    for word, value in words.items():
        path = path.replace(word, value)
    return path


@pytest.mark.parametrize("listener", BOTH)
def test_every_path_takes_what_the_table_says_and_nothing_else(serve: Serve, listener: Listener) -> None:
    client, table = serve(listener, ROUTES), routes_at(listener, ROUTES)
    methods: dict[str, set[str]] = {}
    for route in table:
        methods.setdefault(concrete(route), {"OPTIONS"}).add(route.method)
    for path, taken in methods.items():
        assert allowed(client, path) == taken | ({"HEAD"} if "GET" in taken else set()), path


@pytest.mark.parametrize("listener", BOTH)
def test_head_is_answered_wherever_get_is(serve: Serve, listener: Listener) -> None:
    client = serve(listener, ROUTES)
    for route in routes_at(listener, ROUTES):
        if route.method == "GET":
            get, head = client.get(concrete(route)), client.open(concrete(route), method="HEAD")
            assert (get.status_code, head.status_code, head.data) == (200, 200, b""), route.path
            assert head.content_type == get.content_type


def test_a_path_of_inference_is_no_model_to_be_described(serve: Serve) -> None:
    client = serve(Listener.PUBLIC, ROUTES)
    for path in ("/v2/models/tiny/infer", "/v2/models/tiny/versions/1.0.0/infer", "/v1/models/a:b/metadata:predict"):
        assert allowed(client, path) == {"POST", "OPTIONS"}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("piece", [":", "/:", "/versions/x", "/versions/1:", "/infer", "//", "/metadata"])
def test_a_path_of_pieces_holds_nobody_up(serve: Serve, method: str, piece: str) -> None:
    client = serve(Listener.PUBLIC, ROUTES)
    for prefix in ("/v1/models/a", "/v2/models/a", "/predict/a"):
        path = prefix + piece * (60_000 // len(piece))
        assert client.open(path, method=method, data=b"{}").status_code in {404, 405}


DEFECTS = {
    "expected one route, found two": DeviceRoute("GET", "/healthz", "Again", "Object", handler=see, keyless=True),
    "expected all methods with the key, or all without it": DeviceRoute(
        "POST", "/healthz", "Mend", "Object", handler=see
    ),
}


@pytest.mark.parametrize("expected", DEFECTS)
def test_a_table_that_contradicts_itself_is_refused_at_the_start(registry: ModelRegistry, expected: str) -> None:
    with pytest.raises(AssertionError, match=f"/healthz: {expected}"):
        ModelServer(registry, routes=(*ROUTES, DEFECTS[expected]))
