"""The HTTP server around the application: waitress, in threads of this process.

    with ModelServer(registry, port=0) as server:
        print(server.address)

Bodies never spill to a file (on a Pi that is an SD card), errors of the transport have the JSON form too, and `stop`
lets requests in flight end.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import threading
import time
from typing import Any, Self

import msgspec
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import ErrorTask

from edgemm.errors import EnvironmentFailure
from edgemm_runtime.serving.app import create_app
from edgemm_runtime.serving.limits import ServingLimits
from edgemm_runtime.serving.registry import ModelRegistry

LOOPBACK = "127.0.0.1"
_log = logging.getLogger(__name__)
_POLL_S = 0.05
_LINGER_S = 2.0


class ModelServer:
    """Serves a registry from the moment it is made until `stop`; `port` 0 takes a free one."""

    def __init__(
        self,
        models: ModelRegistry,
        *,
        host: str = LOOPBACK,
        port: int = 0,
        limits: ServingLimits | None = None,
    ) -> None:
        self._limits = limits or ServingLimits()
        listener = _listen(host, port)
        self.host, self.port = host, int(listener.getsockname()[1])
        self._sockets: dict[int, Any] = {}
        self._server = create_server(
            create_app(models, self._limits),
            map=self._sockets,
            sockets=[listener],
            threads=self._limits.threads,
            ident=None,
            # A body that is somewhat too large is read and refused in JSON; a far larger one is cut off.
            max_request_body_size=2 * self._limits.max_body_bytes,
            inbuf_overflow=2 * self._limits.max_body_bytes + 1,
            outbuf_overflow=2**31,
            max_request_header_size=self._limits.max_header_bytes,
            connection_limit=self._limits.max_connections,
            channel_timeout=self._limits.idle_connection_s,
            clear_untrusted_proxy_headers=True,
        )
        self._server.channel_class = _JsonChannel
        self._stopping = threading.Event()
        self._waking = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="edgemm-http", daemon=True)
        self._thread.start()
        _log.info("serving address=%s threads=%d", self.address, self._limits.threads)

    @property
    def address(self) -> str:
        """The URL that clients use: `http://127.0.0.1:8080`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def stop(self) -> None:
        """Stop accepting, let requests in flight end (at most `drain_s`), close; may be called twice."""
        if self._stopping.is_set():
            return
        with self._waking:  # the thread that this wakes closes what wakes it
            self._stopping.set()
            self._server.pull_trigger()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            wasyncore.loop(timeout=1.0, map=self._sockets, use_poll=True, count=1)
        self._server.accepting = False
        deadline = time.monotonic() + self._limits.drain_s
        while self._busy() and time.monotonic() < deadline:
            wasyncore.loop(timeout=_POLL_S, map=self._sockets, use_poll=True, count=1)
        self._server.task_dispatcher.shutdown(timeout=1)
        with self._waking:
            wasyncore.close_all(self._sockets, ignore_all=True)

    def _busy(self) -> bool:
        channels = [c for c in self._sockets.values() if isinstance(c, HTTPChannel)]
        return any(channel.requests or channel.total_outbufs_len for channel in channels)


class _JsonErrorTask(ErrorTask):  # type: ignore[misc]  # waitress ships no types
    """The transport's own errors (no HTTP, too large a head or body) in the JSON form."""

    def execute(self) -> None:
        """Write the error and close the connection; waitress calls this."""
        self.channel.lingers = True
        error = self.request.error
        body = msgspec.json.encode({"error": f"{error.reason}: {error.body}"})
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _JsonChannel(HTTPChannel):  # type: ignore[misc]  # waitress ships no types
    """A connection whose refused request is read on for a while after the answer.

    Closed at once, with bytes of the client still arriving, TCP would reset the connection, and most clients would
    report that instead of the answer (RFC 9112, section 9.6).
    """

    error_task_class = _JsonErrorTask
    lingers = False
    _lingering_until = 0.0

    def readable(self) -> bool:
        """Whether the loop should read; waitress calls this."""
        return bool(self._lingering_until or super().readable())

    def handle_read(self) -> None:
        """Take what has arrived; waitress calls this."""
        if not self._lingering_until:
            super().handle_read()
        elif time.monotonic() > self._lingering_until:
            self.handle_close()
        else:
            try:
                self.recv(self.adj.recv_bytes)  # at the client's end this calls `handle_close`
            except OSError:
                self.handle_close()

    def handle_close(self) -> None:
        """Close, of a refused request only the sending side at first; waitress calls this."""
        if not self.lingers:
            super().handle_close()
            return
        self.lingers = self.will_close = False
        self._lingering_until = time.monotonic() + _LINGER_S
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as err:
        raise EnvironmentFailure(_reason(err, host, port)) from err


def _reason(err: OSError, host: str, port: int) -> str:
    if err.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken by another program: stop it, or choose another with --port (0: any)"
    if err.errno == errno.EACCES:
        return f"port {port} on {host} needs root: choose one above 1023 with --port"
    return f"cannot listen on {host} port {port}: {err.strerror or err}: give an address of this machine to --listen"
