"""How much longer do small requests take while another client has one heavy request always in flight?

    python -m benchmarks.stalls                       # each kind of heavy request for 4 seconds
    python -m benchmarks.stalls --kinds png,gzip

A server process of its own has models that double their input: rows of 640 and of 4, pictures of 224 × 224 × 3, and
images of any size that are made smaller. One thread posts a heavy request again and again, a process of its own asks
a light model, over four connections, one at a time. That is the model of rows for one row, which the event loop
answers; beside other models' requests also one that takes some milliseconds, in a thread. Goal: the 99th percentile
beside each kind is at most 5 times that alone, or 20 ms. Exit status 1: it is missed.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import http.client
import json
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from simulators import needs

with needs.imports(__name__, "images,onnx,runtime"):
    import numpy as np

    from edgemm.bundle.manifest import Preprocessing, Resize
    from simulators import onnx_bundles

_RATIO, _LEAST_S = 5.0, 0.02
_JSON = {"Content-Type": "application/json"}
_FOUR = b'{"inputs":[[0.5,0.5,0.5,0.5]]}'
_QUICK, _STEADY = "/predict/rows", "/predict/steady"
_CLIENT = "from benchmarks.stalls_client import main; main()"


class Heavy(NamedTuple):
    """A request that is a lot of work, `clients` times at once; `chunk` bytes of it are sent at a time, where given."""

    path: str
    body: bytes
    headers: Mapping[str, str] = _JSON
    chunk: int = 0
    clients: int = 1


def kinds() -> dict[str, Callable[[], Heavy]]:
    """Return how each kind of heavy request is made."""
    return {
        "png of 25 megapixels": lambda: Heavy("/predict/image", _png(5000), {"Content-Type": "image/png"}),
        "gzip bomb, 30 MB": _gzip_bomb,
        "json of 9.6 MB": lambda: Heavy("/predict/rows", _rows_json(1250, "0.123456789")),
        "json of 224 x 224 x 3": lambda: Heavy("/predict/picture", _picture_json()),
        "base64 image in json": _base64_image,
        "v2 binary, 30 MB": _v2_binary,
        "v2 json, 9 MB": _v2_json,
        "json answer of 25 MB": lambda: Heavy("/predict/rows", _rows_json(2000, "0.1")),
        "gzip answer of 25 MB": lambda: Heavy(
            "/predict/rows", _rows_json(2000, "0.1"), {**_JSON, "Accept-Encoding": "gzip"}
        ),
        "deeply nested json": lambda: Heavy("/predict/rows", b"[" * 4_000_000 + b"]" * 4_000_000),
        "v1, 100,000 rows": _v1_rows,
        "a slow model": lambda: Heavy("/predict/slow", _FOUR),
        "a slow model, 20 times": lambda: Heavy("/predict/slow", _FOUR, clients=20),
        "json of 9.6 MB, 20 times": lambda: Heavy("/predict/rows", _rows_json(1250, "0.123456789"), clients=20),
        "chunks of 1 byte": lambda: Heavy("/predict/rows", _rows_json(32, "0.123456789"), chunk=1),
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--kinds", default="", help="parts of names with commas between; all by default")
    options = parser.parse_args(arguments)
    wanted = options.kinds.split(",")
    chosen = {name: make for name, make in kinds().items() if any(part in name for part in wanted)}
    missed = []
    with serving() as port:
        alone_s = {path: _p99_s(port, path, options.seconds) for path in (_QUICK, _STEADY)}
        for path, p99_s in alone_s.items():
            print(f"{path} alone: p99 {p99_s * 1e3:.2f} ms; goal beside another: {_goal_s(p99_s) * 1e3:.1f} ms")
        print(f"\n{'beside':<26}{'light':<16}{'p99':>10}{'ratio':>8}{'slowest':>10}{'answers':>9}  status")
        for name, make in chosen.items():
            heavy = make()
            missed += [
                f"{name} ({path})"
                for path in ((_QUICK,) if heavy.path == _QUICK and heavy.clients == 1 else (_QUICK, _STEADY))
                if not _beside(port, name, heavy, path, seconds=options.seconds, alone_s=alone_s[path])
            ]
    print(f"\nmissed by {', '.join(missed)}" if missed else "\nall within the goal")
    return int(bool(missed))


def _goal_s(alone_s: float) -> float:
    return max(_RATIO * alone_s, _LEAST_S)


def _beside(port: int, name: str, heavy: Heavy, path: str, *, seconds: float, alone_s: float) -> bool:
    statuses: list[object] = []
    over = threading.Event()
    threads = [
        threading.Thread(target=_post_on, args=(port, heavy, over, statuses), daemon=True) for _ in range(heavy.clients)
    ]
    for thread in threads:
        thread.start()
    found = _latencies(port, path, seconds)
    over.set()
    for thread in threads:
        thread.join(90)
    p99_s = _percentile(found)
    counted = ", ".join(sorted({str(status) for status in statuses}))
    told = f"{name:<26}{path:<16}{p99_s * 1e3:>7.2f} ms{p99_s / alone_s:>8.1f}{found[-1] * 1e3:>7.0f} ms"
    print(f"{told}{len(statuses):>9}  {counted}", flush=True)
    return p99_s <= _goal_s(alone_s)


@contextmanager
def serving() -> Iterator[int]:
    """Serve the models in a process of its own; yields the port."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgemm-stalls-")))
        steps = Preprocessing(resize=Resize(width=32, height=32), scale=1 / 255)
        onnx_bundles.make_doubling(folder / "rows", "rows", (-1, 640))
        onnx_bundles.make_doubling(folder / "few", "few", (-1, 4))
        onnx_bundles.make_doubling(folder / "picture", "picture", (-1, 224, 224, 3))
        onnx_bundles.make_doubling(folder / "image", "image", (-1, 32, 32, 3), preprocessing=steps)
        onnx_bundles.make_slow(folder / "slow", "slow", steps=60)
        onnx_bundles.make_slow(folder / "steady", "steady", steps=1)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = int(probe.getsockname()[1])
        bundles = [str(folder / name) for name in ("rows", "few", "picture", "image", "slow", "steady")]
        command = [sys.executable, "-m", "edgemm", "run", *bundles, "--port", str(port), "--quiet"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        stack.callback(server.wait)
        stack.callback(server.terminate)
        end_s = time.monotonic() + 30
        while not _is_ready(port):
            if time.monotonic() > end_s or server.poll() is not None:
                raise SystemExit("the server did not start")
            time.sleep(0.1)
        yield port


def _is_ready(port: int) -> bool:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        client.request("GET", "/healthz")
        return client.getresponse().status == 200
    except OSError:
        return False
    finally:
        client.close()


def _p99_s(port: int, path: str, seconds: float) -> float:
    return _percentile(_latencies(port, path, seconds))


def _percentile(found: list[float]) -> float:
    return found[min(len(found) - 1, len(found) * 99 // 100)]


def _latencies(port: int, path: str, seconds: float) -> list[float]:
    """Ask in a process of its own, whose interpreter nobody else keeps; return sorted seconds."""
    command = [sys.executable, "-c", _CLIENT, str(port), str(seconds), path]
    done = subprocess.run(command, capture_output=True, check=True, timeout=seconds + 90)
    return sorted(np.frombuffer(done.stdout, np.float64).tolist())


def _post_on(port: int, heavy: Heavy, over: threading.Event, statuses: list[object]) -> None:
    while not over.is_set():
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
        try:
            body = _chunks(heavy.body, heavy.chunk) if heavy.chunk else heavy.body
            headers = {**heavy.headers, **({"Transfer-Encoding": "chunked"} if heavy.chunk else {})}
            client.request("POST", heavy.path, body, headers, encode_chunked=False)
            reply = client.getresponse()
            reply.read()
            statuses.append(reply.status)
        except OSError as err:
            statuses.append(type(err).__name__)
        finally:
            client.close()


def _chunks(body: bytes, size: int) -> bytes:
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def _rows_json(rows: int, number: str, key: str = "inputs") -> bytes:
    row = b"[" + b",".join([number.encode()] * 640) + b"]"
    return b'{"' + key.encode() + b'":[' + b",".join([row] * rows) + b"]}"


def _picture_json() -> bytes:
    picture = np.random.default_rng(0).random((1, 224, 224, 3)).astype(np.float32)
    return json.dumps({"inputs": picture.tolist()}).encode()


def _png(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes((side * 3 + 1) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _base64_image() -> Heavy:
    side, noise = 1200, np.random.default_rng(0).bytes(1200 * 3600)
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    lines = b"".join(b"\0" + noise[start : start + 3600] for start in range(0, 3600 * side, 3600))
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    image = b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
    return Heavy("/predict/image", json.dumps({"inputs": {"b64": base64.b64encode(image).decode()}}).encode())


def _gzip_bomb() -> Heavy:
    body = gzip.compress(_rows_json(23_000, "0"))
    return Heavy("/predict/rows", body, {**_JSON, "Content-Encoding": "gzip"})


def _v2_binary() -> Heavy:
    rows = 12_000
    tensor = {"name": "x", "shape": [rows, 640], "datatype": "FP32", "parameters": {"binary_data_size": rows * 2560}}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    return Heavy("/v2/models/rows/infer", text + bytes(rows * 2560), headers)


def _v2_json() -> Heavy:
    numbers = np.random.default_rng(0).random(700 * 640).astype(np.float32).tolist()
    tensor = {"name": "x", "shape": [700, 640], "datatype": "FP32", "data": numbers}
    return Heavy("/v2/models/rows/infer", json.dumps({"inputs": [tensor]}).encode())


def _v1_rows() -> Heavy:
    picture = np.random.default_rng(0).random((100_000, 4)).astype(np.float32)
    return Heavy("/v1/models/few:predict", json.dumps({"instances": picture.tolist()}).encode())


if __name__ == "__main__":
    sys.exit(main())
