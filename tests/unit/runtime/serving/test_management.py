"""Loading and unloading over the management listener: what clients of both addresses see."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from edgemm.errors import ConflictError, EnvironmentFailure, InputError
from edgemm_fleet.trust.certificate import create_certificate
from edgemm_runtime.certificates.server_tls import ServerTls
from edgemm_runtime.commands.access_options import read_access
from edgemm_runtime.commands.managing import read_address
from edgemm_runtime.engines import selftest
from edgemm_runtime.engines.choice import AUTO
from edgemm_runtime.engines.golden import Expectation
from edgemm_runtime.models import loader as loading
from edgemm_runtime.models.loader import Loader
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.access import Access
from edgemm_runtime.serving.management import LoopbackAddress, ManagementServer
from edgemm_runtime.serving.server import ModelServer
from simulators.device_client import LocalConnection
from simulators.models import Dense, make_bundle
from simulators.serving import activate
from simulators.v2_client import encode_request
from tests.unit.runtime.serving.test_access import NOTHING

X = np.array([[0.5, -0.5, 0.25, 1.0]], np.float32)
LOOPBACK = LoopbackAddress("127.0.0.1", 0)
KEY = "0123456789abcdef"


@pytest.fixture
def loader(registry: ModelRegistry, bundle_path: Path) -> Loader:
    return Loader(registry, {"tiny": bundle_path}, policy=AUTO)


@pytest.fixture
def management(registry: ModelRegistry, loader: Loader) -> Iterator[ManagementServer]:
    with ManagementServer(registry, loader, LOOPBACK, access=Access()) as management:
        yield management


def ask(address: str, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    reply = connection.getresponse()
    found = json.loads(reply.read() or b"{}")
    connection.close()
    return reply.status, found


def scores(server: ModelServer) -> np.ndarray:
    status, found = ask(server.address, "POST", "/v2/models/tiny/infer", encode_request({"x": X})[0])
    assert status == 200, found
    return np.reshape(found["outputs"][0]["data"], (1, 3))


def replace_file(path: Path, **changes: Any) -> None:
    """Put another bundle in a bundle's place, as a person does: a new file, renamed."""
    new = path.with_suffix(".new")
    make_bundle(new, **changes)
    os.replace(new, path)


def test_tritonclient_unloads_and_loads(
    registry: ModelRegistry, server: ModelServer, management: ManagementServer
) -> None:
    with (
        triton.InferenceServerClient(management.address.removeprefix("http://")) as managing,
        triton.InferenceServerClient(f"{server.host}:{server.port}") as asking,
    ):
        assert "model_repository" in managing.get_server_metadata()["extensions"]
        assert managing.is_model_ready("tiny")
        managing.unload_model("tiny", unload_dependents=True)
        out = {"name": "tiny", "version": "1.0.0", "state": "UNAVAILABLE", "reason": "unloaded"}
        assert managing.get_model_repository_index() == asking.get_model_repository_index() == [out]
        assert not asking.is_model_ready("tiny")
        assert not asking.is_server_ready()
        assert registry.in_use() == [], "its interpreters are freed"
        value = triton.InferInput("x", [1, 4], "FP32")
        value.set_data_from_numpy(X)
        with pytest.raises(InferenceServerException, match="is unloaded") as refused:
            asking.infer("tiny", [value])
        assert refused.value.status() == "404"
        managing.load_model("tiny")
        assert asking.get_model_repository_index()[0]["state"] == "READY"
        assert asking.is_server_ready()
        assert np.allclose(asking.infer("tiny", [value]).as_numpy("scores"), Dense.random(0).predict(X), atol=1e-5)


def test_unloading_and_loading_twice_is_once(
    registry: ModelRegistry, server: ModelServer, management: ManagementServer
) -> None:
    path = "/v2/repository/models/tiny/"
    for verb in ("unload", "unload", "load", "load"):
        assert ask(management.address, "POST", path + verb) == (200, {})
    assert np.allclose(scores(server), Dense.random(0).predict(X), atol=1e-5)
    assert len(registry.in_use()) == 1


def test_loading_swaps_in_what_the_file_is_now(
    bundle_path: Path, server: ModelServer, management: ManagementServer
) -> None:
    replace_file(bundle_path, version="1.1.0", seed=7)
    assert np.allclose(scores(server), Dense.random(0).predict(X), atol=1e-5)
    assert ask(management.address, "POST", "/v2/repository/models/tiny/load")[0] == 200
    assert np.allclose(scores(server), Dense.random(7).predict(X), atol=1e-5)
    assert ask(server.address, "GET", "/v2/models/tiny")[1]["versions"] == ["1.1.0"]


@pytest.mark.parametrize("spoil", ["gone", "cut short", "another model", "wrong answers"])
def test_a_file_that_cannot_be_served_leaves_what_serves(
    bundle_path: Path, server: ModelServer, management: ManagementServer, spoil: str
) -> None:
    match spoil:
        case "gone":
            bundle_path.unlink()
        case "cut short":
            shutil.copy(bundle_path, cut := bundle_path.with_suffix(".cut"))
            os.truncate(cut, 700)
            os.replace(cut, bundle_path)
        case "another model":
            replace_file(bundle_path, name="other")
        case "wrong answers":
            replace_file(bundle_path, seed=7, scramble=True)
    load = "/v2/repository/models/tiny/load"
    status, found = ask(management.address, "POST", load)
    assert (status, "serves on" in str(found["error"])) == (409, True)
    assert np.allclose(scores(server), Dense.random(0).predict(X), atol=1e-5)
    ask(management.address, "POST", "/v2/repository/models/tiny/unload")
    status, found = ask(management.address, "POST", load)
    assert (status, "serves on" in str(found["error"])) == (409, False)
    [listed] = ask_index(server)
    assert listed["state"] == "UNAVAILABLE"


def test_a_load_that_hangs_is_given_up_and_later_ones_go_on(
    bundle_path: Path, server: ModelServer, management: ManagementServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, leave, check, threads = "/v2/repository/models/tiny/load", threading.Event(), Expectation.check, []

    def hang(*args: Any, **options: Any) -> None:
        threads.append(threading.current_thread())
        assert leave.wait(60)
        check(*args, **options)

    replace_file(bundle_path, version="1.1.0", seed=7)
    with monkeypatch.context() as patched:
        patched.setattr(Expectation, "check", hang)
        patched.setattr(loading, "_LOAD_S", 1.0)
        patched.setattr(selftest, "run_in_child", lambda *_args, **_options: None)
        status, found = ask(management.address, "POST", load)
    assert (status, "serves on: it did not end within 1 s" in str(found["error"])) == (409, True)
    assert np.allclose(scores(server), Dense.random(0).predict(X), atol=1e-5)
    replace_file(bundle_path, version="1.2.0", seed=9)
    assert ask(management.address, "POST", load) == (200, {})
    leave.set()
    for thread in threads:
        thread.join(60)
    assert np.allclose(scores(server), Dense.random(9).predict(X), atol=1e-5), "what comes late is dropped"
    assert ask(server.address, "GET", "/v2/models/tiny")[1]["versions"] == ["1.2.0"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_path_that_never_opens_is_given_up(
    bundle_path: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_LOAD_S", 0.2)
    bundle_path.unlink()
    os.mkfifo(bundle_path)
    with pytest.raises(ConflictError, match=r"did not end within 0\.2 s"):
        loader.load("tiny")
    bundle_path.open("wb").close()


def ask_index(server: ModelServer, body: bytes = b"") -> list[dict[str, str]]:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
    connection.request("POST", "/v2/repository/index", body)
    found: list[dict[str, str]] = json.load(connection.getresponse())
    connection.close()
    return found


def test_another_model_serves_on_alone(tmp_path: Path, registry: ModelRegistry, loader: Loader) -> None:
    make_bundle(tmp_path / "other-1.0.0.edgemm", name="other")
    activate(registry, tmp_path / "other-1.0.0.edgemm")
    with ModelServer(registry) as server:
        loader.unload("tiny")
        assert ask(server.address, "GET", "/v2/health/ready")[0] == 200
        assert ask(server.address, "POST", "/predict", json.dumps(X.tolist()).encode())[1]["model"] == "other"
        assert [one["name"] for one in ask_index(server)] == ["other", "tiny"]
        assert [one["name"] for one in ask_index(server, b'{"ready": true}')] == ["other"]
        assert ask(server.address, "GET", "/v1/models/tiny")[0] == 404


def test_a_model_that_the_server_was_not_started_with_is_unknown(management: ManagementServer) -> None:
    for verb in ("load", "unload"):
        status, found = ask(management.address, "POST", f"/v2/repository/models/else/{verb}")
        assert (status, "named: tiny" in str(found["error"])) == (404, True)


def test_the_public_address_loads_nothing_and_the_management_address_predicts_nothing(
    server: ModelServer, management: ManagementServer
) -> None:
    for verb in ("load", "unload"):
        assert ask(server.address, "POST", f"/v2/repository/models/tiny/{verb}")[0] == 409
    assert ask(server.address, "GET", "/v2/models/tiny/ready")[0] == 200
    body = encode_request({"x": X})[0]
    assert ask(management.address, "POST", "/v2/models/tiny/infer", body)[0] in {404, 405}


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"parameters": 1}', b'{"parameters": {"config": "{}"}}', b"\xff"])
def test_bodies_that_ask_for_more_are_refused(management: ManagementServer, server: ModelServer, body: bytes) -> None:
    for verb in ("load", "unload"):
        assert ask(management.address, "POST", f"/v2/repository/models/tiny/{verb}", body)[0] == 400
    assert ask(server.address, "GET", "/v2/models/tiny/ready")[0] == 200


def test_a_web_page_may_not_manage(management: ManagementServer, server: ModelServer) -> None:
    path = "/v2/repository/models/tiny/unload"
    assert ask(management.address, "POST", path, Origin="https://page.example")[0] == 403
    assert ask(server.address, "GET", "/v2/models/tiny/ready")[0] == 200


def test_the_key_is_asked_for_here_too(registry: ModelRegistry, loader: Loader) -> None:
    with ManagementServer(registry, loader, LOOPBACK, access=Access(api_key=KEY)) as management:
        path = "/v2/repository/models/tiny/unload"
        assert ask(management.address, "POST", path)[0] == 401
        assert ask(management.address, "POST", path, X_API_Key=KEY)[0] == 200


def test_a_port_speaks_tls_alone_and_asks_for_the_key_where_the_public_one_does(
    registry: ModelRegistry, loader: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    create_certificate(certificate, key, names=(), now=datetime.now(UTC))
    monkeypatch.setenv("EDGEMM_API_KEY", KEY)
    access = read_access(**NOTHING | {"tls_cert": certificate, "tls_key": key})
    trust, unload = ssl.create_default_context(cafile=str(certificate)), "/v2/repository/models/tiny/unload"
    with ManagementServer(registry, loader, LOOPBACK, access=access) as management:
        scheme, _, host = management.address.partition("://")
        assert scheme == "https"
        with pytest.raises((http.client.BadStatusLine, ConnectionError)):
            ask(host, "POST", unload, X_API_Key=KEY)
        connection = http.client.HTTPSConnection(host, timeout=60, context=trust)
        for method, path, headers, status in (
            ("GET", "/v2/health/live", {}, 200),
            ("POST", unload, {}, 401),
            ("POST", unload, {"X-API-Key": KEY[::-1]}, 401),
            ("POST", "/v2/health/../repository/models/tiny/unload", {}, 401),
            ("POST", "/v2/health/../repository/models/tiny/unload", {"X-API-Key": KEY}, 404),
            ("POST", unload, {"X-API-Key": KEY, "Origin": "https://page.example"}, 403),
        ):
            connection.request(method, path, headers=headers)
            reply = connection.getresponse()
            reply.read()
            assert (path, reply.status) == (path, status)
        assert registry.unloaded() == {}
        connection.request("POST", unload, headers={"Authorization": f"Bearer {KEY}"})
        assert connection.getresponse().status == 200
        connection.close()


def test_a_unix_socket_asks_for_the_key_and_stays_plain(
    registry: ModelRegistry, loader: Loader, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    create_certificate(certificate, key, names=(), now=datetime.now(UTC))
    tls = ServerTls(certificate, key)
    path = tmp_path / "manage.sock"
    with ManagementServer(registry, loader, path, access=Access(api_key=KEY, tls=tls)):
        for headers, status in (({}, 401), ({"X-API-Key": KEY}, 200)):
            connection = LocalConnection(path)
            connection.request("POST", "/v2/repository/models/tiny/unload", headers=headers)
            assert connection.getresponse().status == status
            connection.close()


def test_a_unix_socket_manages_and_goes_with_the_server(
    registry: ModelRegistry, loader: Loader, tmp_path: Path
) -> None:
    path = tmp_path / "manage.sock"
    with ManagementServer(registry, loader, path, access=Access()) as management:
        assert management.address == str(path)
        assert path.stat().st_mode & 0o007 == 0
        connection = LocalConnection(path)
        connection.request("POST", "/v2/repository/models/tiny/unload")
        assert connection.getresponse().status == 200
        connection.close()
        assert list(registry.unloaded()) == ["tiny"]
    assert not path.exists()


def test_what_is_taken_is_named_with_the_option_that_says_so(
    tmp_path: Path, registry: ModelRegistry, loader: Loader
) -> None:
    (tmp_path / "file").write_text("mine")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for address in (LoopbackAddress("127.0.0.1", port), tmp_path / "file", tmp_path / "no" / "sock"):
            with pytest.raises(EnvironmentFailure, match="choose another.* --manage"):
                ManagementServer(registry, loader, address, access=Access())
    assert (tmp_path / "file").read_text() == "mine"


def test_addresses_that_others_could_reach_are_refused() -> None:
    assert read_address("127.0.0.1:81") == LoopbackAddress("127.0.0.1", 81)
    assert str(read_address("[::1]:81")) == "[::1]:81"
    assert read_address("/run/edgemm.sock") == Path("/run/edgemm.sock")
    for text in ("0.0.0.0:81", "192.0.2.1:81", ":81", "example.org:81", "[::]:81", "127.0.0.1:70000", "81", ""):
        with pytest.raises(InputError, match=r"expected a path for a Unix socket, or 127\.0\.0\.1:PORT"):
            read_address(text)
