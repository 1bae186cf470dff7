"""The acceptor of clients for all event loops: each client goes to the loop that has the fewest.

When there are too many, clients wait in the kernel's queue.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.http.loop import EventLoop

_log = logging.getLogger(__name__)
_AT_ONCE = 64


class Acceptor:
    """Listens in the first loop; TLS is for clients that come over a network."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        loops: Sequence[EventLoop],
        limits: ServingLimits,
        *,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._listeners, self._loops, self._limits, self._tls = listeners, loops, limits, tls
        self._full = False
        for loop in loops:
            loop.share_buffer_with(lambda: sum(other.buffered_bytes() for other in loops))
            loop.on_sweep(self._look)
        for listener in listeners:
            loops[0].listen(listener, lambda listener=listener: self._accept(listener))  # type: ignore[misc]

    def close(self) -> None:
        """Close the listening sockets; the file of a Unix socket goes with it."""
        for listener in self._listeners:
            path = listener.getsockname() if listener.family == socket.AF_UNIX else None
            listener.close()
            if path:
                Path(path).unlink(missing_ok=True)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            if sum(map(len, self._loops)) >= self._limits.max_connections:
                self._hear(on=False)
                return
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as err:  # no descriptors left, or the client is gone again
                _log.warning("cannot take a client error=%s", err)
                self._hear(on=False)
                return
            self._give(sock)

    def _give(self, sock: socket.socket) -> None:
        sock.settimeout(0)
        if sock.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        min(self._loops, key=len).adopt(sock)

    def _look(self) -> None:
        """Take clients again once there is room; called in the loops' threads now and then."""
        if self._full and sum(map(len, self._loops)) < self._limits.max_connections:
            self._loops[0].call(lambda: self._hear(on=True))

    def _hear(self, *, on: bool) -> None:
        if self._full is not on:
            return
        self._full = not on
        for listener in self._listeners:
            self._loops[0].hear(listener, on=on)
