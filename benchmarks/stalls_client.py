"""The client of `benchmarks.stalls`: `python -m benchmarks.stalls_client PORT SECONDS` writes seconds as float64."""

from __future__ import annotations

import http.client
import struct
import sys
import time

_CONNECTIONS = 4
_BODY = b'{"inputs":[[' + b",".join([b"0.5"] * 640) + b"]]}"


def main(port: int, seconds: float) -> bytes:
    """Ask one after another over some connections, so that each of the server's loops is met."""
    clients = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(_CONNECTIONS)]
    taken: list[float] = []
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        client, begun_s = clients[len(taken) % _CONNECTIONS], time.monotonic()
        client.request("POST", "/predict/rows", _BODY, {"Content-Type": "application/json"})
        client.getresponse().read()
        taken.append(time.monotonic() - begun_s)
    for client in clients:
        client.close()
    return struct.pack(f"={len(taken)}d", *taken)


if __name__ == "__main__":
    sys.stdout.buffer.write(main(int(sys.argv[1]), float(sys.argv[2])))
