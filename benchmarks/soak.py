"""What many requests and connections leave behind: `python -m benchmarks.soak [--requests N] [--connections N]`.

A real `edgemm run` with a tiny model is asked from several threads: rows of 4 to 400,000 numbers in JSON, CSV and
binary, in one piece and in chunks, compressed and damaged, some cut off in the middle. Then connections come and go,
idle ones and half-sent ones. Its resident memory is printed along the way. The first twentieth, at least 500 requests,
is the warm-up that memory is compared with. Exit status 1: it grew by more than the goal, or a request failed that
should not.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "runtime"):
    import numpy as np

    from benchmarks.serving import memory
    from simulators.models import INPUT, make_bundle
    from simulators.v2_client import encode_request

GOAL_GROWTH_MIB = 16.0
"""What may be left of allocators' and interpreters' own making, however many requests there were."""
_ROWS = (1, 1, 1, 1, 1, 10, 100, 1_000, 10_000, 100_000)
_WEIGHTS = np.array([1.0] * 5 + [1.0, 0.5, 0.1, 0.01, 0.001])
_THREADS = 4
_MOST_DAMAGED_BYTES = 1024 * 1024
"""JSON above this that is no numbers in lists of the input's shape is not read: docs/http-api.md."""
_REFUSED = {"429", "503"}


def main() -> int:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--connections", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny-1.0.0.edgemm"
        make_bundle(path)
        with _served(path) as (pid, port):
            return _soak(pid, port, requests=options.requests, connections=options.connections)


def _soak(pid: int, port: int, *, requests: int, connections: int) -> int:
    counts: Counter[str] = Counter()
    steps = 20
    sizes = [_mib(pid)]
    print(f"{'started':>24}: {sizes[0]:6.1f} MiB")
    for step in range(steps):
        _ask_all(port, max(requests // steps, 500 if step == 0 else 1), seed=step, counts=counts)
        sizes.append(_mib(pid))
        print(f"{counts.total():>15,} requests: {sizes[-1]:6.1f} MiB", flush=True)
    _connect_all(port, connections)
    time.sleep(2)  # what is refused lingers for so long
    sizes.append(_mib(pid))
    print(f"{connections:>12,} connections: {sizes[-1]:6.1f} MiB")
    peak_mib = memory.field(Path(f"/proc/{pid}/status").read_text(), "VmHWM") / memory.MIB
    grown, wrong = sizes[-1] - sizes[1], {status: n for status, n in counts.items() if status.startswith("wrong")}
    print(f"peak {peak_mib:.1f} MiB; after the warm-up grown by {grown:.1f} MiB, goal {GOAL_GROWTH_MIB:.0f}")
    print("answers", dict(counts))
    return int(grown > GOAL_GROWTH_MIB or bool(wrong))


def _ask_all(port: int, count: int, *, seed: int, counts: Counter[str]) -> None:
    share = [count // _THREADS + (index < count % _THREADS) for index in range(_THREADS)]
    found: list[Counter[str]] = [Counter() for _ in share]
    threads = [
        threading.Thread(target=_ask_many, args=(port, n, seed * _THREADS + index, found[index]))
        for index, n in enumerate(share)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in found:
        counts.update(one)


def _ask_many(port: int, count: int, seed: int, counts: Counter[str]) -> None:
    random = np.random.default_rng(seed)
    client: _Client | None = None
    for _ in range(count):
        data, wanted = _request(random)
        client = client or _Client(port)
        status = client.ask(data) if wanted else client.leave(data)
        counts[status if status == wanted or not wanted or status in _REFUSED else f"wrong {status}, not {wanted}"] += 1
        if client.closed:
            client = None
    if client is not None:
        client.close()


def _request(random: np.random.Generator) -> tuple[bytes, str]:
    """Return a request and the status of its answer; none where it is to be cut off."""
    count = int(random.choice(_ROWS, p=_WEIGHTS / _WEIGHTS.sum()))
    rows = np.full((count, 4), 0.25, np.float32)
    form = int(random.integers(8))
    body, length = encode_request({INPUT: rows}, binary=form < 4)
    text = body if form < 4 else json.dumps(rows.tolist()).encode()
    match form:
        case 0 | 1 | 2:
            sized = f"Inference-Header-Content-Length: {length}"
            return _post("/v2/models/tiny/infer", body, sized), "200"
        case 3:
            return _post("/v2/models/tiny/infer", body[:-1], f"Inference-Header-Content-Length: {length}"), "400"
        case 4:
            head = "POST /predict/tiny HTTP/1.1\r\nHost: pi\r\nTransfer-Encoding: chunked\r\n\r\n"
            chunks = (text[start : start + 4096] for start in range(0, len(text), 4096))
            sent = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
            return head.encode() + sent + b"0\r\n\r\n", "200"
        case 5:
            return _post("/predict/tiny", zlib.compress(text, wbits=31), "Content-Encoding: gzip"), "200"
        case 6:
            return _post("/predict/tiny", text[:-1]), "400" if len(text) <= _MOST_DAMAGED_BYTES else "413"
        case _:
            return _post("/predict/tiny", text)[: int(random.integers(1, 60))], ""


def _post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: pi", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class _Client:
    """A connection that is kept as long as the server keeps it."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._file = self._socket.makefile("rb")
        self.closed = False

    def ask(self, data: bytes) -> str:
        """Send a request; return the status of its answer."""
        try:
            self._socket.sendall(data)
            status, length = self._file.readline().split()[1].decode(), 0
            while line := self._file.readline().strip().lower():
                name, _, value = line.partition(b":")
                length = int(value) if name == b"content-length" else length
                self.closed |= line == b"connection: close"
            self._file.read(length)
        except (OSError, IndexError):
            self.close()
            return "closed"
        if self.closed:
            self.close()
        return status

    def leave(self, data: bytes) -> str:
        """Send part of a request and go away."""
        self._socket.sendall(data)
        self.close()
        return "left"

    def close(self) -> None:
        """Close the connection."""
        self.closed = True
        self._file.close()
        self._socket.close()


def _connect_all(port: int, count: int) -> None:
    """Open connections, of which at most 200 are open at a time: half of them idle, half with half a head."""
    held: list[socket.socket] = []
    for number in range(count):
        held.append(socket.create_connection(("127.0.0.1", port), timeout=120))
        if number % 2:
            held[-1].sendall(b"GET /healthz HTTP/1.1\r\nHo")
        if len(held) > 200:
            held.pop(0).close()
    for one in held:
        one.close()


def _mib(pid: int) -> float:
    return memory.of([pid]).rss_bytes / memory.MIB


@contextmanager
def _served(path: Path) -> Iterator[tuple[int, int]]:
    command = [sys.executable, "-m", "edgemm", "run", str(path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            found = None
            while found is None:
                line = process.stdout.readline()
                assert line, "edgemm run ended"
                found = re.search(r"is served at http://[\d.]+:(\d+)", line)
            yield process.pid, int(found[1])
        finally:
            process.terminate()


if __name__ == "__main__":
    sys.exit(main())
