"""The client of `benchmarks.stalls`, in a process of its own: no lock of the benchmark's makes it late."""

from __future__ import annotations

import http.client
import struct
import sys
import time

_CONNECTIONS = 4
_BODIES = {
    path: b'{"inputs":[[' + b",".join([b"0.5"] * size) + b"]]}"
    for path, size in (("/predict/rows", 640), ("/predict/steady", 4))
}


def main() -> None:
    """Ask for `SECONDS` at `PORT` and `PATH`, all arguments; write what each request took, in seconds, as float64."""
    sys.stdout.buffer.write(_taken(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]))


def _taken(port: int, seconds: float, path: str) -> bytes:
    """Ask one after another over some connections, so that each of the server's loops is met."""
    clients = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(_CONNECTIONS)]
    taken: list[float] = []
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        client, begun_s = clients[len(taken) % _CONNECTIONS], time.monotonic()
        client.request("POST", path, _BODIES[path], {"Content-Type": "application/json"})
        client.getresponse().read()
        taken.append(time.monotonic() - begun_s)
    for client in clients:
        client.close()
    return struct.pack(f"={len(taken)}d", *taken)
