"""A client of a device's HTTP server that reads each answer whole, over one connection."""

from __future__ import annotations

import http.client
import json as jsons
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class DeviceAnswer:
    """One answer; names of headers may be in any case."""

    status_code: int
    headers: http.client.HTTPMessage
    data: bytes

    @property
    def content_type(self) -> str:
        return self.headers["Content-Type"]

    @property
    def text(self) -> str:
        return self.data.decode()

    @property
    def json(self) -> Any:
        return jsons.loads(self.data)


class LocalConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


class DeviceClient:
    """Asks a server at its address, such as `http://127.0.0.1:8080`; one thread at a time."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
        self._lock = threading.Lock()

    def get(self, path: str, **asked: Any) -> DeviceAnswer:
        return self.open(path, method="GET", **asked)

    def post(self, path: str, **asked: Any) -> DeviceAnswer:
        return self.open(path, method="POST", **asked)

    def open(
        self,
        path: str,
        *,
        method: str,
        data: bytes | str | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> DeviceAnswer:
        """Ask, and read the answer; `json` is sent as such in place of `data`."""
        body = data.encode() if isinstance(data, str) else data
        if json is not None:
            body, content_type = jsons.dumps(json).encode(), content_type or "application/json"
        given = dict(headers or {}) | ({} if content_type is None else {"Content-Type": content_type})
        with self._lock:
            self._connection.request(method, path, body, given)
            reply = self._connection.getresponse()
            return DeviceAnswer(reply.status, reply.headers, reply.read())

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()
