"""A fuzzer reads a device's own OpenAPI document and asks every endpoint in it, well and badly.

Nothing may be answered with 5xx or otherwise than the document says, and afterwards the process answers as before and
holds no more than before.
"""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import urllib3

from simulators.models import CLASSES, make_bundle
from simulators.tables import make_table
from simulators.waiting import eventually
from tests.clients.environments import environment

pytestmark = [pytest.mark.runtime, pytest.mark.slow, pytest.mark.timeout(900)]
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "negative_data_rejection,missing_required_header"
)
MOST_GROWTH_BYTES = 32 * 1024 * 1024


class Device:
    """A real `edgemm run` process."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process, self.address = process, address
        self._folder = Path(f"/proc/{process.pid}")

    @property
    def rss_bytes(self) -> int:
        found = re.search(r"VmRSS:\s+(\d+) kB", (self._folder / "status").read_text())
        assert found is not None
        return int(found[1]) * 1024

    @property
    def descriptors(self) -> int:
        return len(os.listdir(self._folder / "fd"))

    @property
    def threads(self) -> int:
        return len(os.listdir(self._folder / "task"))

    def predicts(self) -> bool:
        reply = urllib3.request("POST", f"{self.address}/predict/tiny", body=b"[[1, 2, 3, 4]]", retries=False)
        return reply.status == 200 and len(reply.json()["outputs"]["scores"][0]) == CLASSES


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    paths = tmp_path / "tiny.edgemm", tmp_path / "more.edgemm", tmp_path / "visits.edgemm"
    make_bundle(paths[0])
    make_bundle(paths[1], name="more", version="2.1.0")
    make_table(paths[2])
    command = [sys.executable, "-m", "edgemm", "run", *map(str, paths), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        yield Device(process, address)
        process.terminate()
        assert process.wait(30) == 0


@pytest.mark.service
def test_every_endpoint_answers_as_its_document_says(device: Device) -> None:
    _fuzz(device, phases="examples,coverage")
    assert device.predicts()
    before = device.rss_bytes
    tested = _fuzz(device, phases="examples,coverage,fuzzing")
    assert tested > 1000
    assert device.process.poll() is None
    assert device.predicts()
    assert device.rss_bytes - before < MOST_GROWTH_BYTES
    eventually(lambda: device.threads <= 24, "threads that were made as needed stay within their bound")


def _fuzz(device: Device, *, phases: str) -> int:
    """Send what the document allows and what it does not; return how many requests were made."""
    command = [
        str(environment("schemathesis").parent / "schemathesis"), "--no-color", "run", f"{device.address}/openapi.json",
        "--checks", CHECKS, "--phases", phases, "--mode", "all", "--max-examples", "25",
        "--seed", "1", "--generation-deterministic", "--request-timeout", "10",
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    tested = re.search(r"(\d+) generated", done.stdout)
    assert tested is not None, done.stdout[-3000:]
    return int(tested[1])


def test_thousands_of_malformed_requests_leave_nothing_behind(device: Device) -> None:
    random = np.random.default_rng(11)
    good = b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}'
    _ask_malformed(device, good, random, count=400)
    before, open_before = device.rss_bytes, device.descriptors
    statuses = _ask_malformed(device, good, random, count=2000)
    assert {status // 100 for status in statuses} <= {2, 4}
    assert sum(status >= 400 for status in statuses) > 1000
    assert device.predicts()
    eventually(lambda: device.descriptors <= open_before + 2, "connections are closed")
    assert device.rss_bytes - before < MOST_GROWTH_BYTES


def _ask_malformed(device: Device, good: bytes, random: np.random.Generator, *, count: int) -> list[int]:
    """Send requests with changed bytes, some of them cut off by the client; return what was answered."""
    host, _, port = device.address.removeprefix("http://").partition(":")
    paths = ["/v2/models/tiny/infer", "/predict/tiny", "/v1/models/more:predict", "/v2/feedback", "/predict/nobody"]
    found = []
    for number in range(count):
        body = bytearray(good)
        for place in random.integers(0, len(body), random.integers(1, 8)):
            body[place] = random.integers(0, 256)
        path = paths[number % len(paths)]
        if number % 10 == 9:
            with socket.create_connection((host, int(port)), timeout=10) as cut_off:
                cut_off.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n".encode() + body)
            continue
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        connection.request("POST", path, body=bytes(body))
        reply = connection.getresponse()
        reply.read()
        found.append(reply.status)
        connection.close()
    return found
