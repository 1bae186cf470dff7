"""Ports of the loopback interface for what starts in a moment, and for addresses that have to be known before."""

from __future__ import annotations

import secrets
import socket

_FIRST, _COUNT = 20_000, 12_000
"""Below those that Linux gives to outgoing connections (32,768 and up): one of those may be taken before it is used."""
_given: set[int] = set()


def free_port() -> int:
    """Return a port that nobody listens on, and that this process was not given before; drawn at random."""
    while True:
        port = _FIRST + secrets.randbelow(_COUNT)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
