"""How soon a manager answers people while clients that it has to bear are there: see benchmarks/README.md."""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "fleet"):
    import edgemm_fleet.http.http_server  # noqa: F401 - the served process needs it
    from benchmarks.fleet_http.load import KINDS, Clients, connect
    from benchmarks.fleet_http.target import Target
    from edgemm.bundle.blobs import BlobFolder

_LONGEST_S = 10.0
_WANTED_P99_MS, _WANTED_MIB = 100.0, 250.0
_READY_S = 120.0
CASES: dict[str, dict[str, int]] = {
    "nobody else": {},
    "2,000 idle, 200 downloads": {"idle": 2000, "downloads": 200},
    "16 silent": {"silent": 16},
    "1,000 silent": {"silent": 1000},
    "500 trickling heads": {"heads": 500},
    "500 trickling bodies": {"bodies": 500},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each case")
    parser.add_argument("--blob-mib", type=int, default=50)
    parser.add_argument("--only", help="the cases that have this in their names")
    parser.add_argument("--target", type=json.loads, help="another server, as a Target in JSON")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet-http-")))
        if options.target:
            target = Target(**options.target)
        else:
            target = stack.enter_context(serving(folder, blob_bytes=options.blob_mib << 20))
        before_mib = target.resident_mib()
        print(f"idle manager: {before_mib:.0f} MiB", flush=True)
        print(
            "| beside | p50 ms | p95 | p99 | max | failed | MiB more | still there | MB/s |\n"
            "|---|---|---|---|---|---|---|---|---|"
        )
        good = True
        for name, clients in CASES.items():
            if options.only is None or options.only in name:
                good &= measure(target, name, clients, seconds=options.seconds, before_mib=before_mib)
    return 0 if good else 1


def measure(target: Target, name: str, clients: dict[str, int], *, seconds: float, before_mib: float) -> bool:
    """Ask for /health on a new connection each time, beside these clients; tell whether that was soon enough."""
    over = multiprocessing.Event()
    loads, beside = [], []
    for kind, count in clients.items():
        ready, left, moved = multiprocessing.Event(), multiprocessing.Value("i", 0), multiprocessing.Value("d", 0.0)
        told = Clients(count, ready, over, left, moved)
        beside.append((kind, told))
        load = multiprocessing.Process(target=KINDS[kind], args=(target, told), daemon=True)
        load.start()
        loads.append(load)
        if not ready.wait(_READY_S):
            print(f"{kind}: {count} clients were not there after {_READY_S:.0f} s", file=sys.stderr)
    time.sleep(1)
    found, failed = probe(target, seconds)
    more_mib = target.resident_mib() - before_mib
    over.set()
    for load in loads:
        load.join(10)
        load.kill()
    still = ", ".join(f"{told.left.value} {kind}" for kind, told in beside)
    rate = sum(told.moved.value for _, told in beside)
    if len(found) < 2:
        print(f"| {name} | – | – | – | – | {failed} | {more_mib:.0f} | {still} | {rate:.1f} |", flush=True)
        return False
    marks = statistics.quantiles(found, n=100, method="inclusive")
    print(
        f"| {name} | {marks[49]:.0f} | {marks[94]:.0f} | {marks[98]:.0f} | {max(found):.0f} | {failed} "
        f"| {more_mib:.0f} | {still} | {rate:.1f} |",
        flush=True,
    )
    return not failed and marks[98] <= _WANTED_P99_MS and more_mib <= _WANTED_MIB


def probe(target: Target, seconds: float) -> tuple[list[float], int]:
    """Return the milliseconds of each answer, from the connection on, and how many did not come."""
    found, failed, end_s = [], 0, time.monotonic() + seconds
    while (begun_s := time.monotonic()) < end_s:
        try:
            with connect(target) as connection:
                connection.settimeout(_LONGEST_S)
                connection.sendall(target.request("/api/v1/health"))
                right = connection.recv(4096).startswith(b"HTTP/1.1 200")
        except OSError:
            right = False
        took_s = time.monotonic() - begun_s
        if right and took_s < _LONGEST_S:
            found.append(1000 * took_s)
        else:
            failed += 1
        time.sleep(0.01)
    return found, failed


@contextmanager
def serving(folder: Path, *, blob_bytes: int) -> Iterator[Target]:
    """Found a fleet with a blob, and serve it."""
    port = _free_port()
    command = [sys.executable, "-m", "edgemm", "fleet"]
    url = f"https://127.0.0.1:{port}"
    founded = subprocess.run(
        [*command, "init", folder / "fleet", "--name", "bench", "--public-url", url, "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    content = os.urandom(blob_bytes)
    digest = hashlib.sha256(content).hexdigest()
    blobs = next(path for path in (folder / "fleet").rglob("blobs") if path.is_dir())
    _blob_path(blobs, digest).write_bytes(content)
    log = folder / "log"
    with (
        log.open("w") as file,
        subprocess.Popen(
            [*command, "serve", folder / "fleet", "--broker", f"embedded:{_free_port()}"], stdout=file, stderr=file
        ) as process,
    ):
        try:
            while not re.search(r"^serving", log.read_text(), re.MULTILINE):
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            time.sleep(1)
            token = json.loads(founded.stdout)["token"]
            yield Target("127.0.0.1", port, tls=True, token=token, blob=digest, process=process.pid)
        finally:
            process.terminate()


def _blob_path(folder: Path, digest: str) -> Path:
    path = BlobFolder(folder).path(digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
