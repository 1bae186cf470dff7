"""The route `GET /openapi.json`: a thin blueprint around `openapi.document`."""

from __future__ import annotations

from flask import Blueprint, Response

from edgemm.errors import NotFoundError, UnavailableError
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.openapi.document import Described, document
from edgemm_runtime.serving.pages.errors import json_reply


def make_blueprint(models: ModelRegistry, *, keyed: bool) -> Blueprint:
    """Return the route; the document tells of the models that are served when it is asked for."""
    routes = Blueprint("description", __name__)

    @routes.get("/openapi.json")
    def describe() -> Response:
        return json_reply(document([_described(models, name) for name in models.names()], keyed=keyed))

    return routes


def _described(models: ModelRegistry, name: str) -> Described:
    try:
        return Described(name, models.get(name).manifest)
    except (NotFoundError, UnavailableError):
        return Described(name, None)
