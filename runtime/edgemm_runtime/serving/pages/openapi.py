"""The handler of `GET /openapi.json`; the document tells of the models that are served when it is asked for."""

from __future__ import annotations

from edgemm.errors import NotFoundError, UnavailableError
from edgemm_runtime.http.exchange import Reply, json_body
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.openapi.document import Described, document
from edgemm_runtime.serving.pages.asked import Asked


def describe(asked: Asked) -> Reply:
    """Tell every route of the listener that is asked."""
    device, managed = asked.device, asked.device.loader is not None
    names = sorted({*device.models.names(), *(device.models.unloaded() if managed else ())})
    models = [_described(device.models, name) for name in names]
    return json_body(document(device.operations, models, keyed=device.keyed, managed=managed))


def _described(models: ModelRegistry, name: str) -> Described:
    try:
        return Described(name, models.get(name).manifest)
    except (NotFoundError, UnavailableError):
        return Described(name, None)
