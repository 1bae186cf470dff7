"""The server that marks the limit answers as it was told, so that a run of the benchmark has a limit."""

from __future__ import annotations

import urllib3

from benchmarks.serving.constant import start


def test_every_request_gets_the_same_answer() -> None:
    with start(0, b"constant", (("X-Length", "3"),)) as server, urllib3.PoolManager(retries=False, timeout=30) as pool:
        for body in (b"one", b"another"):
            found = pool.request("POST", f"{server.address}/v2/models/any/infer", body=body)
            assert (found.status, found.data, found.headers["X-Length"]) == (200, b"constant", "3")
