"""The argument of every handler: the device that is asked, the request, and what its path names.

def model_ready(asked: Asked) -> Reply:
    asked.device.models.get(asked.name, version=asked.version)
    return json_body({"name": asked.name, "ready": True})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from edgemm_runtime.certificates.server_tls import ServerTls
from edgemm_runtime.http.exchange import Reply, Request
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.loader import Loader
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.openapi.document import Operation


@dataclass(frozen=True, kw_only=True)
class ServedDevice:
    """What one listener serves, and by which routes."""

    models: ModelRegistry
    limits: ServingLimits
    operations: Sequence[Operation]
    """The routes of this listener, as its document describes them."""

    loader: Loader | None = None
    """Loads and unloads models; the management listener has one."""

    statuses: Callable[[], Mapping[int, int]] = dict
    """The counts of the server's answers by status."""

    collectors: Sequence[Callable[[], Any]] = ()
    """Makers of further collectors of Prometheus' client, for what runs beside the server."""

    keyed: bool = False
    """Whether the server asks for an API key."""

    tls: ServerTls | None = None
    """The TLS of the public port, whose certificate ends some day."""


@dataclass(frozen=True)
class Asked:
    """A request for one route."""

    device: ServedDevice
    request: Request
    path: Mapping[str, str]
    """What stands in the path for each `{word}` of the route's template."""

    @property
    def name(self) -> str:
        """The model that the path names."""
        return self.path["name"]

    @property
    def version(self) -> str | None:
        """The version that the path names, None for whichever is served."""
        return self.path.get("version")

    @property
    def number(self) -> str | None:
        """The same as a number, for TensorFlow Serving's clients."""
        return self.path.get("number")


Handler: TypeAlias = Callable[[Asked], Reply]
