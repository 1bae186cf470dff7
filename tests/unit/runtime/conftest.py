from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.pages.app import create_app
from edgemm_runtime.serving.server import ModelServer
from simulators.models import make_bundle
from simulators.serving import activate

LIMITS = ServingLimits(max_body_bytes=100_000, threads=4)


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
def client(registry: ModelRegistry) -> FlaskClient:
    return create_app(registry, LIMITS).test_client()


@pytest.fixture
def server(registry: ModelRegistry) -> Iterator[ModelServer]:
    with ModelServer(registry, limits=LIMITS) as server:
        yield server
