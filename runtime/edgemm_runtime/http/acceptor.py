"""The acceptor of clients for all event loops: each client goes where `Spreader` says.

Where there are too many, or no file descriptor is left, connections that nobody uses are closed, those first that have
been idle for longest. Clients wait in the kernel's queue meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import select
import socket
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from edgemm_runtime.certificates.server_tls import ServerTls
from edgemm_runtime.http.descriptors import connections_within
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.http.loop import EventLoop
from edgemm_runtime.http.spreading import Spreader

_log = logging.getLogger(__name__)
_AT_ONCE = 64
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_MOST_CLOSED = 8
_LOG_EVERY_S = 60.0


class Acceptor:
    """Listens in the first loop; TLS is for clients that come over a network."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        loops: Sequence[EventLoop],
        limits: ServingLimits,
        *,
        tls: ServerTls | None,
    ) -> None:
        self._listeners, self._loops, self._tls = listeners, loops, tls
        self._spreader = Spreader(loops)
        self._most = connections_within(limits.max_connections)
        if self._most < limits.max_connections:
            _log.warning(
                "the limit of open files (ulimit -n, LimitNOFILE) leaves room for fewer connections found=%d wanted=%d",
                self._most,
                limits.max_connections,
            )
        self._full, self._logged_s = False, -_LOG_EVERY_S
        for loop in loops:
            loop.on_sweep(self._look)
        for listener in listeners:
            loops[0].listen(listener, lambda listener=listener: self._accept(listener))  # type: ignore[misc]

    def close(self, *, timeout_s: float) -> None:
        """Take the clients that wait, and close the listening sockets, so that others are refused at once.

        The loop that listens does it; where it hangs for longer than `timeout_s`, nobody is taken. The file of a Unix
        socket goes with its socket. Called once, before that loop ends, from a thread that is not its own.
        """
        done = threading.Event()

        def leave() -> None:
            for listener in self._listeners:
                while not self._full and listener.fileno() >= 0 and _has_client(listener):
                    self._accept(listener)
                self._loops[0].unlisten(listener)
                _close(listener)
            done.set()

        self._loops[0].call(leave)
        if not done.wait(timeout_s):
            for listener in self._listeners:
                _close(listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            if self._count() >= self._most:
                if _has_client(listener):
                    self._wait_for_room()
                return
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as err:
                if err.errno in _EXHAUSTED:
                    self._tell(err)
                    self._wait_for_room()
                    return
                continue  # the client is gone again: accept(2) tells of it so
            try:
                self._give(sock)
            except OSError as err:
                self._tell(err)
                sock.close()

    def _give(self, sock: socket.socket) -> None:
        sock.settimeout(0)
        if sock.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock)
        self._spreader.home().adopt(sock)

    def _count(self) -> int:
        return sum(map(len, self._loops))

    def _look(self) -> None:
        """See whether there is room again; called in the loops' threads now and then, and where a connection ends."""
        if self._full:
            self._loops[0].call(self._resume)

    def _resume(self) -> None:
        if not self._full:
            return
        if self._count() < self._most:
            self._hear(on=True)
        else:
            self._make_room()

    def _wait_for_room(self) -> None:
        self._hear(on=False)
        self._make_room()

    def _make_room(self) -> None:
        """Have the connections closed that can best be spared, each in the thread of its loop."""
        now_s = time.monotonic()
        found = [(turn, id(one), one, loop) for loop in self._loops for turn, one in loop.expendable(now_s)]
        for _, _, connection, loop in sorted(found)[:_MOST_CLOSED]:
            loop.call(partial(loop.let_go, connection))

    def _tell(self, err: OSError) -> None:
        now_s = time.monotonic()
        if now_s - self._logged_s >= _LOG_EVERY_S:
            self._logged_s = now_s
            _log.warning("cannot take a client error=%s connections=%d", err, self._count())

    def _hear(self, *, on: bool) -> None:
        if self._full is not on:
            return
        self._full = not on
        for listener in self._listeners:
            self._loops[0].hear(listener, on=on)


def _close(listener: socket.socket) -> None:
    path = listener.getsockname() if listener.family == socket.AF_UNIX and listener.fileno() >= 0 else None
    listener.close()
    if path:
        Path(path).unlink(missing_ok=True)


def _has_client(listener: socket.socket) -> bool:
    """Tell whether a client waits to be accepted: as long as none does, nobody has to make room."""
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    return bool(waiting.poll(0))
