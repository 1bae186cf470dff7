"""Compressed answers: as clients ask for them, and as they need not be asked for."""

from __future__ import annotations

import gzip
import http.client
import json
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import tritonclient.http as triton

from edgemm_runtime.http.compression import choose_encoding, compressed
from edgemm_runtime.http.exchange import Reply
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.server import ModelServer
from simulators.models import Dense

MANY = np.random.default_rng(3).uniform(-1, 1, (2000, 4)).astype(np.float32)
UNPACK: dict[str | None, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "deflate": zlib.decompress, None: bytes}


@pytest.fixture(params=[0.0, 10.0], ids=["in a thread", "in the loop"])
def server(registry: ModelRegistry, request: pytest.FixtureRequest) -> Iterator[ModelServer]:
    with ModelServer(registry, limits=ServingLimits(loops=1, quick_s=request.param)) as server:
        yield server


class Asking:
    """One connection, on which small and large answers are asked for."""

    def __init__(self, server: ModelServer) -> None:
        self.connection = http.client.HTTPConnection(server.host, server.port, timeout=60)

    def predict(self, rows: int, accept: str | None) -> tuple[str | None, bytes, str]:
        body = json.dumps(MANY[:rows].tolist())
        headers = {} if accept is None else {"Accept-Encoding": accept}
        self.connection.putrequest("POST", "/predict", skip_accept_encoding=True)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.connection.putheader(name, value)
        self.connection.endheaders(body.encode())
        reply = self.connection.getresponse()
        assert reply.status == 200
        return reply.headers["Content-Encoding"], reply.read(), reply.headers.get("Vary", "")


@pytest.fixture
def asking(server: ModelServer) -> Iterator[Asking]:
    asking = Asking(server)
    yield asking
    asking.connection.close()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate", None])
@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_has_its_answers_compressed(server: ModelServer, algorithm: str | None, binary: bool) -> None:
    value = triton.InferInput("x", list(MANY.shape), "FP32")
    value.set_data_from_numpy(MANY)
    wanted = [triton.InferRequestedOutput("scores", binary_data=binary)]
    with triton.InferenceServerClient(f"{server.host}:{server.port}") as client:
        for _ in range(3):
            found = client.infer("tiny", [value], outputs=wanted, response_compression_algorithm=algorithm)
            assert np.allclose(found.as_numpy("scores"), Dense.random(0).predict(MANY), atol=1e-5)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", None])
def test_large_answers_are_compressed_and_small_ones_are_not(asking: Asking, encoding: str | None) -> None:
    for _ in range(3):
        found, body, vary = asking.predict(2000, encoding)
        assert found == encoding
        assert len(json.loads(UNPACK[encoding](body))["outputs"]["scores"]) == 2000
        assert vary == ("Accept-Encoding" if encoding else "")
        found, body, vary = asking.predict(1, encoding)
        assert (found, vary, len(json.loads(body)["outputs"]["scores"])) == (None, "", 1)


def test_half_of_it_and_more_is_saved_in_json(asking: Asking) -> None:
    assert len(asking.predict(2000, "gzip")[1]) * 1.8 < len(asking.predict(2000, None)[1])


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("gzip", "gzip"),
        ("GZIP, deflate, br", "gzip"),
        ("deflate", "deflate"),
        ("gzip;q=0.5, deflate;q=0.8", "deflate"),
        ("gzip; q=0, deflate", "deflate"),
        ("gzip;q=0", None),
        ("*", "gzip"),
        ("*;q=0.1, gzip;q=0", "deflate"),
        ("*;q=0", None),
        ("identity", None),
        ("identity, gzip;q=0.5", None),
        ("br, zstd", None),
        ("", None),
        ("gzip;q=nan", None),
        ("gzip;q=many", None),
        (",;,=" * 100_000, None),
    ],
)
def test_the_encoding_is_the_one_that_the_client_likes_best(accepted: str, chosen: str | None) -> None:
    assert choose_encoding(accepted) == chosen


def test_what_gets_no_smaller_is_sent_as_it_is() -> None:
    noise = np.random.default_rng(1).bytes(50_000)
    reply = compressed(Reply(200, noise), "gzip", min_bytes=1)
    assert (reply.body, reply.headers) == (noise, (("Vary", "Accept-Encoding"),))
