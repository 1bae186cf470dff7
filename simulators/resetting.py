"""Clients that reset their connection: at once, or after any part of what they would say.

for said in cuts(REQUEST):
    reset_after(port, said)
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: `close` resets."""


def cuts(said: bytes, *, most: int) -> Iterator[bytes]:
    """Yield beginnings of what is said, from nothing to all of it, so many at most."""
    step = max(1, len(said) // most)
    yield from (said[:end] for end in range(0, len(said), step))
    yield said


def reset_after(port: int, said: bytes, *, tls: bool = False, wait_s: float = 0.0, read: int = 0) -> None:
    """Connect, say this, read so many bytes, wait and reset."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        sock = _trusting().wrap_socket(plain) if tls else plain
        with sock:
            sock.sendall(said)
            if read:
                sock.recv(read)
            time.sleep(wait_s)


def reset_in_handshake(port: int, *, most: int) -> None:
    """Reset after each part of a TLS client's first flight, and in the middle of its second."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = _trusting().wrap_bio(incoming, outgoing)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    for part in cuts(outgoing.read(), most=most):
        reset_after(port, part)
        reset_after(port, part, wait_s=0.005)


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
