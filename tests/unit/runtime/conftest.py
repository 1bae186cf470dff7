from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.server import ModelServer
from simulators.device_client import DeviceClient
from simulators.models import make_bundle
from simulators.serving import activate

LIMITS = ServingLimits(max_body_bytes=100_000, threads=4)


class Connect(Protocol):
    """Serves a registry and returns a client of the server."""

    def __call__(self, registry: ModelRegistry, **options: Any) -> DeviceClient: ...


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    path = tmp_path / "tiny-1.0.0.edgemm"
    make_bundle(path)
    return path


@pytest.fixture
def registry(bundle_path: Path) -> ModelRegistry:
    registry = ModelRegistry()
    activate(registry, bundle_path)
    return registry


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Asks through the real server, on the way that a device's clients take."""
    with ExitStack() as stack:

        def connect(registry: ModelRegistry, **options: Any) -> DeviceClient:
            server = stack.enter_context(ModelServer(registry, **options))
            return stack.enter_context(DeviceClient(server.address))

        yield connect


@pytest.fixture
def client(registry: ModelRegistry, connect: Connect) -> DeviceClient:
    return connect(registry, limits=LIMITS)


@pytest.fixture
def server(registry: ModelRegistry) -> Iterator[ModelServer]:
    with ModelServer(registry, limits=LIMITS) as server:
        yield server
