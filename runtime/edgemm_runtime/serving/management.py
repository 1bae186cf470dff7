"""The management listener: loads and unloads models, at an address of its own that no network reaches.

It tells what the public address tells of models, answers no predictions, and takes clients of this machine only: at a
Unix socket, or on loopback. A web page in a browser could send requests there too; those bear an `Origin` and are
refused.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self, TypeAlias

from edgemm_runtime.http.acceptor import Acceptor
from edgemm_runtime.http.date import DateLine
from edgemm_runtime.http.exchange import Reply, Request
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.http.listening import TcpOptions, listen_tcp, listen_unix
from edgemm_runtime.http.loop import HANGING, Answer, EventLoop
from edgemm_runtime.http.workers import WorkerJob, WorkerPool
from edgemm_runtime.http.wsgi import WsgiApplication, call
from edgemm_runtime.memory.memory_budget import MemoryBudget
from edgemm_runtime.models.loader import Loader
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.access import Access
from edgemm_runtime.serving.admission import Admission
from edgemm_runtime.serving.app import create_app
from edgemm_runtime.serving.dispatch import BUSY, guarded
from edgemm_runtime.serving.pages.asked import ServedDevice
from edgemm_runtime.serving.routes import ROUTES, DeviceRoute, Listener, keyless_paths, routes_at

_log = logging.getLogger(__name__)
_OPTION = "--manage"
_LIMITS = ServingLimits(
    max_body_bytes=64 * 1024,
    memory_bytes=8 * 1024 * 1024,
    max_connections=16,
    request_s=300.0,
    loops=1,
    threads=2,
    max_waiting=8,
)


@dataclass(frozen=True)
class LoopbackAddress:
    """A host that is only this machine, and a port; 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


ManagementAddress: TypeAlias = Path | LoopbackAddress


class ManagementServer:
    """Serves the management application from the moment it is made until `stop`."""

    def __init__(
        self,
        models: ModelRegistry,
        loader: Loader,
        address: ManagementAddress,
        *,
        access: Access,
        routes: Sequence[DeviceRoute] = ROUTES,
    ) -> None:
        self._workers = WorkerPool(threads=_LIMITS.threads, max_waiting=_LIMITS.max_waiting)
        here, keyed = routes_at(Listener.MANAGEMENT, routes), access.api_key is not None
        device = ServedDevice(models=models, limits=_LIMITS, operations=here, loader=loader, keyed=keyed)
        admission = Admission(access, keyless=keyless_paths(here), pages=False)
        application = _Application(create_app(here, device), self._workers, admission)
        self._path = address if isinstance(address, Path) else None
        listener = (
            listen_unix(address, option=_OPTION)
            if isinstance(address, Path)
            else listen_tcp(address.host, address.port, options=TcpOptions(_OPTION, _OPTION))
        )
        self._bound = address
        if isinstance(address, LoopbackAddress):
            self._bound = replace(address, port=int(listener.getsockname()[1]))
        self._tls = access.tls if self._path is None else None
        self._loop = EventLoop(
            application, _LIMITS, MemoryBudget(_LIMITS.memory_bytes), name="edgemm-management", date=DateLine()
        )
        self._acceptor = Acceptor([listener], [self._loop], _LIMITS, tls=self._tls)
        self._stopping = threading.Event()
        self._loop.start()
        _log.info("management address=%s", self.address)

    @property
    def address(self) -> str:
        """The URL, or the path of the Unix socket."""
        if isinstance(self._bound, Path):
            return str(self._bound)
        return f"{'https' if self._tls else 'http'}://{self._bound}"

    def stop(self) -> None:
        """Stop accepting, let what is being loaded end (at most `drain_s`), close; may be called twice."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        deadline_s = time.monotonic() + _LIMITS.drain_s
        self._acceptor.close(timeout_s=_LIMITS.drain_s)
        self._loop.drain()
        self._loop.end(max(0.0, deadline_s - time.monotonic()))
        self._workers.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


class _Application:
    """The `Application` of the event loop: whatever is asked takes a thread."""

    def __init__(self, application: WsgiApplication, workers: WorkerPool, admission: Admission) -> None:
        self._application, self._workers, self._admission = application, workers, admission
        self.finished = admission.finished

    def together(self, _request: Request) -> int:
        """One; see `Application`."""
        return 1

    def quick(self, requests: Sequence[Request]) -> Sequence[Reply | None]:
        """Refuse what may not ask; see `Application`."""
        return [self._admission.refusal(request) for request in requests]

    def submit(self, request: Request, done: Answer) -> Reply | None:
        """Have a request answered in a thread; see `Application`."""
        answering = partial(call, self._application, request, host="localhost", port=0)
        job = WorkerJob(lambda: done(guarded(answering, request)), lambda: done(HANGING))
        return None if self._workers.submit(job) else BUSY
