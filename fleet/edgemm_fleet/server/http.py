"""The HTTP server: cheroot in threads, with TLS by the fleet's own certificate.

    server = HttpServer(app, settings)
    server.start()      # raises if the port is taken
    …
    server.stop()

Plain HTTP is served on loopback addresses only.
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cheroot.server import HTTPConnection
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server

from edgemm.errors import EnvironmentFailure, InputError
from edgemm.transport.address import is_loopback

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HttpSettings:
    """Where to listen, and how much to bear."""

    host: str
    port: int
    certificate: Path | None = None
    """In PEM; None serves plain HTTP, on loopback only."""

    private_key: Path | None = None
    threads: int = 16
    timeout_s: int = 20
    """How long a client may be silent within a request."""

    max_header_bytes: int = 64 * 1024
    idle_connections: int = 1000
    """Connections that are kept open between requests."""

    poll_s: float = 0.25
    """How often idle connections are looked at; stopping waits for it."""


class _TlsAdapter(BuiltinSSLAdapter):
    """Lets the worker thread shake hands.

    cheroot would do it in the thread that accepts, where one client that connects and says nothing holds up all.
    """

    def wrap(self, sock: Any) -> tuple[Any, dict[str, str]]:
        """Return the socket under TLS, before any handshake, and what the application is told of it."""
        wrapped = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return wrapped, {"wsgi.url_scheme": "https", "HTTPS": "on"}


class _Connection(HTTPConnection):
    """Shakes hands before its first request; a client that cannot is let go without a traceback."""

    def communicate(self) -> bool:
        """Answer one request; tell whether the connection may stay open for another."""
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.version() is None:
            try:
                self.socket.do_handshake()
            except OSError as err:
                logger.debug("tls_failed address=%s error=%s", self.remote_addr, err)
                return False
        return bool(super().communicate())  # type: ignore[no-untyped-call]  # cheroot is typed in part


class HttpServer:
    """Serves a WSGI application until it is stopped; `port` 0 takes a free one, which `port` then tells."""

    def __init__(self, app: Callable[..., Any], settings: HttpSettings) -> None:
        """Set up, without listening.

        Raises:
            InputError: plain HTTP on an address that others can reach.
        """
        if settings.certificate is None:
            check_plain(settings.host)
        self._settings = settings
        self._server = Server(
            (settings.host, settings.port),
            app,
            numthreads=settings.threads,
            request_queue_size=128,
            timeout=settings.timeout_s,
        )
        self._server.max_request_header_size = settings.max_header_bytes
        self._server.expiration_interval = settings.poll_s
        self._server.keep_alive_conn_limit = settings.idle_connections
        self._server.error_log = _log  # type: ignore[method-assign]  # cheroot documents it as what to replace
        self._server.ConnectionClass = _Connection
        self._thread: threading.Thread | None = None
        self._bound = False
        self.port = settings.port

    def bind(self) -> None:
        """Take the port, and answer nobody yet: for an application that has to know `port`.

        Raises:
            EnvironmentFailure: the port is taken, or the address is not this machine's.
        """
        settings = self._settings
        if settings.certificate is not None:
            adapter = _TlsAdapter(str(settings.certificate), str(settings.private_key))
            adapter.context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._server.ssl_adapter = adapter
        try:
            # cheroot leaks its socket where it cannot bind, and says less.
            family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
            socket.create_server((settings.host, settings.port), family=family).close()
            self._server.prepare()
        except OSError as err:
            raise EnvironmentFailure(
                f"cannot listen on {settings.host}:{settings.port}: {os.strerror(err.errno) if err.errno else err}; "
                "stop what uses it, or choose another port with --listen"
            ) from err
        self.port = int(self._server.bind_addr[1])
        self._bound = True

    def start(self, app: Callable[..., Any] | None = None) -> None:
        """Begin to serve, and to listen unless `bind` did; `app`, if given, instead of the one given before.

        Raises:
            EnvironmentFailure: as `bind`.
        """
        if app is not None:
            self._server.wsgi_app = app
        if not self._bound:
            self.bind()
        self._thread = threading.Thread(target=self._server.serve, name="edgemm-http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the requests that are being answered, then close everything."""
        if self._bound:
            self._server.stop()
            self._bound = False
        if self._thread is not None:
            self._thread.join()
            self._thread = None


def check_plain(host: str) -> None:
    """Refuse to listen without TLS where others could reach it.

    Raises:
        InputError: the address is not a loopback one.
    """
    if not is_loopback(host):
        raise InputError(f"plain HTTP on {host}: it is served on loopback only; use an https:// public URL")


def _log(msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:  # noqa: FBT001, FBT002 - cheroot's signature
    # Below ERROR it is about clients that go away or do not trust the certificate, which is theirs to report.
    if level >= logging.ERROR:
        logger.log(level, "http_server message=%r", msg, exc_info=traceback)
    else:
        logger.debug("http_server message=%r", msg)
