"""The HTTP server of the manager: one event loop for all connections, threads in lanes for the application.

    server = HttpServer(app, HttpSettings("127.0.0.1", 8080))
    server.start()      # raises if the port is taken
    …
    server.stop()

Plain HTTP is served on loopback addresses only.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgemm.errors import EnvironmentFailure, InputError
from edgemm.transport.address import is_loopback
from edgemm_fleet.http.backend import Backend, LaneOf, people
from edgemm_fleet.http.conversations import Conversations
from edgemm_fleet.http.entrance import Entrance
from edgemm_fleet.http.environ import ProxiedFiles, WsgiApplication
from edgemm_fleet.http.held_memory import HeldMemory
from edgemm_fleet.http.http_limits import HttpLimits
from edgemm_fleet.http.lanes import LaneThreads
from edgemm_fleet.http.means import Means
from edgemm_fleet.http.reactor import Reactor
from edgemm_fleet.http.refusal_log import RefusalLog

_BACKLOG = 1024
_LOOK_S = 0.02
_ANY_IPV6 = "::"


@dataclass(frozen=True)
class HttpSettings:
    """Where to listen, and how much to bear."""

    host: str
    port: int
    certificate: Path | None = None
    """In PEM; None serves plain HTTP, on loopback only."""

    private_key: Path | None = None
    limits: HttpLimits = field(default_factory=HttpLimits)
    lane_of: LaneOf = people
    behind_proxy: bool = False
    """A proxy on this machine has TLS, and tells the addresses of clients in `X-Forwarded-For`."""

    proxied: ProxiedFiles | None = None


class HttpServer:
    """Serves a WSGI application until it is stopped; `port` 0 takes a free one, which `port` then tells."""

    def __init__(self, app: WsgiApplication, settings: HttpSettings) -> None:
        """Set up, without listening.

        Raises:
            InputError: plain HTTP on an address that others can reach.
        """
        if settings.certificate is None:
            check_plain(settings.host)
        self._app, self._settings = app, settings
        self._listener: socket.socket | None = None
        self._lanes, self._counts, self._log = LaneThreads(), Counter[str](), RefusalLog()
        self._reactor: Reactor | None = None
        self._conversations: Conversations | None = None
        self._entrance: Entrance | None = None
        self.port = settings.port

    def bind(self) -> None:
        """Take the port, and answer nobody yet: for an application that has to know `port`.

        Raises:
            EnvironmentFailure: the port is taken, or the address is not this machine's.
        """
        host, port = self._settings.host, self._settings.port
        try:
            self._listener = socket.create_server(
                (host, port),
                family=socket.AF_INET6 if ":" in host else socket.AF_INET,
                backlog=_BACKLOG,
                dualstack_ipv6=host == _ANY_IPV6 and socket.has_dualstack_ipv6(),
            )
        except OSError as err:
            raise EnvironmentFailure(
                f"cannot listen on {host}:{port}: {os.strerror(err.errno) if err.errno else err}; "
                "stop what uses it, or choose another port with --listen"
            ) from err
        self.port = int(self._listener.getsockname()[1])

    def start(self, app: WsgiApplication | None = None) -> None:
        """Begin to serve, and to listen unless `bind` did; `app`, if given, instead of the one given before.

        Raises:
            EnvironmentFailure: as `bind`.
            InputError: the certificate or its key cannot be used.
        """
        settings = self._settings
        tls = self._context()
        if self._listener is None:
            self.bind()
        assert self._listener is not None
        backend = Backend(
            app or self._app,
            settings.host,
            self.port,
            scheme="http" if tls is None and not settings.behind_proxy else "https",
            lane_of=settings.lane_of,
            behind_proxy=settings.behind_proxy,
            proxied=settings.proxied,
        )
        self._reactor = reactor = Reactor("edgemm-http", self._sweep)
        memory = HeldMemory(settings.limits.memory_bytes)
        means = Means(reactor, settings.limits, self._lanes, memory, self._counts)
        self._conversations = Conversations(means, backend)
        self._entrance = Entrance(self._listener, means, self._conversations, tls=tls, proxied=settings.behind_proxy)
        self._entrance.open()
        reactor.start()

    def renew_certificate(self) -> None:
        """Give clients that come from now on the certificate that the files have now; no connection ends.

        Raises:
            InputError: the certificate or its key cannot be used; the one before stays in use.
        """
        tls = self._context()
        if self._entrance is not None:
            self._entrance.tls = tls

    def counts(self) -> Mapping[str, int]:
        """Return what was refused or given up since the start, by why."""
        return dict(self._counts)

    @property
    def most_connections(self) -> int:
        """How many connections may be open at a time."""
        return self._settings.limits.connections

    def connections(self) -> int:
        """Return how many connections are open."""
        return 0 if self._entrance is None else len(self._entrance)

    def stop(self) -> None:
        """Answer what has come, or comes in a moment, as long as that is allowed to take; then close everything."""
        if self._reactor is not None and self._entrance is not None and self._conversations is not None:
            self._reactor.call(self._entrance.leave)
            self._reactor.call(self._conversations.drain)
            until_s = time.monotonic() + self._settings.limits.drain_s
            while not self._conversations.parted and time.monotonic() < until_s:
                time.sleep(_LOOK_S)
                self._reactor.call(self._conversations.part)
            self._reactor.end(timeout_s=5.0)
            self._entrance.close()
            for peer in list(self._conversations.peers.values()):
                self._conversations.close(peer)
            self._reactor = None
        elif self._listener is not None:
            self._listener.close()
        self._listener = None
        self._lanes.stop()

    def _sweep(self, now_s: float) -> None:
        assert self._conversations is not None
        assert self._entrance is not None
        self._conversations.sweep(now_s)
        self._entrance.sweep()
        self._log.look(self._counts, connections=len(self._entrance), now_s=now_s)

    def _context(self) -> ssl.SSLContext | None:
        certificate, key = self._settings.certificate, self._settings.private_key
        if certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        try:
            context.load_cert_chain(certificate, key)
        except OSError as err:
            raise InputError(
                f"cannot serve HTTPS with {certificate} and {key}: {err.strerror or err}: expected a certificate and "
                "its private key in PEM"
            ) from err
        return context


def check_plain(host: str) -> None:
    """Refuse to listen without TLS where others could reach it.

    Raises:
        InputError: the address is not a loopback one.
    """
    if not is_loopback(host):
        raise InputError(f"plain HTTP on {host}: it is served on loopback only; use an https:// public URL")
