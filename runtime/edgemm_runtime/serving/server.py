"""The HTTP server of a device: event loops and threads of this process around a registry of models.

    with ModelServer(registry, port=0) as server:
        print(server.address)

Nothing of a request is ever written to a file (on a Pi that is an SD card). Errors of the transport have the JSON form
too. `stop` lets requests in flight end. A model that hangs costs its own request and no other.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

from edgemm_runtime.http.acceptor import Acceptor
from edgemm_runtime.http.date import DateLine
from edgemm_runtime.http.exchange import Reply, Request
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.http.listening import listen_all, listen_unix
from edgemm_runtime.http.loop import Answer, EventLoop
from edgemm_runtime.http.workers import WorkerPool
from edgemm_runtime.memory.allocator import give_large_memory_back
from edgemm_runtime.memory.memory_budget import MemoryBudget
from edgemm_runtime.models.hangs import HangWatch
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.access import Access
from edgemm_runtime.serving.admission import Admission
from edgemm_runtime.serving.app import Endpoints, create_app
from edgemm_runtime.serving.dispatch import Dispatcher
from edgemm_runtime.serving.pages.asked import ServedDevice
from edgemm_runtime.serving.pages.health import load_metrics
from edgemm_runtime.serving.routes import ROUTES, DeviceRoute, Listener, keyless_paths, routes_at

LOOPBACK = "127.0.0.1"
_log = logging.getLogger(__name__)
_LOOP_DEAD_S = 10.0
_MOST_HANGS = 16


class ModelServer:
    """Serves a registry from the moment it is made until `stop`; `port` 0 takes a free one."""

    def __init__(
        self,
        models: ModelRegistry,
        *,
        host: str | Sequence[str] = LOOPBACK,
        port: int = 0,
        limits: ServingLimits | None = None,
        access: Access | None = None,
        routes: Sequence[DeviceRoute] = ROUTES,
    ) -> None:
        self._limits, self.access = limits or ServingLimits(), access or Access()
        self.date = DateLine()
        """Whose time the answers tell; a device of a fleet knows more of it than the system's clock."""
        load_metrics()
        give_large_memory_back()
        self._workers = WorkerPool(threads=self._limits.threads, max_waiting=self._limits.max_waiting)
        self.collectors: list[Callable[[], Any]] = []
        """What `/metrics` tells beside the server's own: makers of collectors of Prometheus' client."""
        dispatcher = self._dispatcher = self._made_dispatcher(models, routes_at(Listener.PUBLIC, routes))
        hosts = (host,) if isinstance(host, str) else tuple(host)
        listeners = self._listeners(hosts, port)
        self.host, self.port = hosts[0], int(listeners[0].getsockname()[1])
        dispatcher.host, dispatcher.port = self.host, self.port
        self.memory = MemoryBudget(self._limits.memory_bytes)
        self._loops = [
            EventLoop(dispatcher, self._limits, self.memory, name=f"edgemm-http-{number}", date=self.date)
            for number in range(self._limits.loops)
        ]
        self._acceptor = Acceptor(listeners, self._loops, self._limits, tls=self.access.tls)
        self._hangs = HangWatch(models, self._give_up)
        self._stopping = threading.Event()
        for loop in self._loops:
            loop.start()
        _log.info("serving address=%s loops=%d threads=%d", self.address, self._limits.loops, self._limits.threads)

    @property
    def address(self) -> str:
        """The URL that clients use: `http://127.0.0.1:8080`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.access.tls else 'http'}://{host}:{self.port}"

    def ask(self, request: Request, answer: Answer) -> Reply | None:
        """Have a request of this machine answered in a thread, without the API key; see `Application.submit`."""
        return self._dispatcher.submit(request, answer)

    @property
    def healthy(self) -> bool:
        """Whether all loops turn, and few threads were left behind in models that hang; else a restart is due."""
        now_s = time.monotonic()
        return self._hangs.hangs <= _MOST_HANGS and all(now_s - loop.beat_s < _LOOP_DEAD_S for loop in self._loops)

    def stop(self) -> None:
        """Stop accepting, let requests that have come end (at most `drain_s`), close; may be called twice."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        deadline_s = time.monotonic() + self._limits.drain_s
        for loop in self._loops:
            loop.keep_none()
        self._acceptor.close(timeout_s=self._limits.drain_s)
        for loop in self._loops:
            loop.drain()
        for loop in self._loops:
            loop.end(max(0.0, deadline_s - time.monotonic()))
        self._hangs.stop()
        self._workers.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _made_dispatcher(self, models: ModelRegistry, routes: Sequence[DeviceRoute]) -> Dispatcher:
        device = ServedDevice(
            models=models,
            limits=self._limits,
            operations=routes,
            statuses=self._statuses,
            keyed=self.access.api_key is not None,
            tls=self.access.tls,
            collectors=self.collectors,
        )
        application = create_app(routes, device)
        return Dispatcher(
            Endpoints(application.url_map, routes, device),
            application,
            self._workers,
            self._limits,
            admission=Admission(self.access, keyless=keyless_paths(routes)),
        )

    def _listeners(self, hosts: Sequence[str], port: int) -> list[socket.socket]:
        listeners = listen_all(hosts, port)
        if self.access.unix_socket is not None:
            try:
                listeners.append(listen_unix(self.access.unix_socket))
            except BaseException:
                for listener in listeners:
                    listener.close()
                raise
        return listeners

    def _give_up(self, thread: int) -> None:
        given_up = any(loop.give_up(thread) for loop in self._loops) or self._workers.give_up(thread)
        _log.error("thread left behind in a model that hangs of_the_server=%s", given_up)

    def _statuses(self) -> dict[int, int]:
        total: dict[int, int] = {}
        for loop in self._loops:
            for status, count in loop.statuses().items():
                total[status] = total.get(status, 0) + count
        return total
