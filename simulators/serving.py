"""A device's HTTP server over tiny models, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgemm.bundle import open_bundle
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.models.served_model import ServedModel
from edgemm_runtime.serving.server import ModelServer


def activate(registry: ModelRegistry, path: Path, *, variant: str = "tflite:float32") -> ServedModel:
    """Serve a bundle file's variant under the bundle's name."""
    with open_bundle(path) as source:
        return registry.activate(source.manifest.name, source, source.manifest.variant(variant))


@contextmanager
def serving(
    *paths: Path, variant: str = "tflite:float32", limits: ServingLimits | None = None
) -> Iterator[ModelServer]:
    """Serve bundle files on a free port."""
    registry = ModelRegistry()
    for path in paths:
        activate(registry, path, variant=variant)
    with ModelServer(registry, limits=limits) as server:
        yield server
