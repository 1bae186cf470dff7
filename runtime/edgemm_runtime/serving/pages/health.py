"""The routes for people and monitoring: `POST /predict[/MODEL]`, `/metrics` and `/healthz`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flask import Blueprint, Response

from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.pages.errors import flask_reply, json_reply, whole_request
from edgemm_runtime.serving.protocols.endpoints import PredictEndpoint, answer


def make_blueprint(
    models: ModelRegistry, limits: ServingLimits, statuses: Callable[[], Mapping[int, int]]
) -> Blueprint:
    """Return the routes that need no protocol; `statuses` are the counts of the server's answers."""
    routes = Blueprint("people", __name__)

    @routes.post("/predict", defaults={"name": None})
    @routes.post("/predict/<path:name>")
    def predict(name: str | None) -> Response:
        return flask_reply(answer(PredictEndpoint(models, limits, name), whole_request()))

    @routes.get("/metrics")
    def scrape() -> Response:
        from edgemm_runtime.serving.metrics.model_metrics import CONTENT_TYPE, exposition

        return Response(exposition(models, statuses), content_type=CONTENT_TYPE)

    @routes.get("/healthz")
    def health() -> Response:
        return json_reply({"ready": models.ready}, status=200 if models.ready else 503)

    return routes
