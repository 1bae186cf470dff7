"""What people and monitoring call: `POST /predict[/MODEL]`, `/metrics` and `/healthz`."""

from __future__ import annotations

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from edgemm_runtime.serving.endpoints import PredictEndpoint, answer
from edgemm_runtime.serving.limits import ServingLimits
from edgemm_runtime.serving.registry import ModelRegistry
from edgemm_runtime.serving.replies import flask_reply, json_reply, whole_request


def make_blueprint(models: ModelRegistry, limits: ServingLimits, metrics: CollectorRegistry) -> Blueprint:
    """Return the routes that need no protocol."""
    routes = Blueprint("people", __name__)

    @routes.post("/predict", defaults={"name": None})
    @routes.post("/predict/<path:name>")
    def predict(name: str | None) -> Response:
        return flask_reply(answer(PredictEndpoint(models, limits, name), whole_request()))

    @routes.get("/metrics")
    def scrape() -> Response:
        return Response(generate_latest(metrics), content_type=CONTENT_TYPE_LATEST)

    @routes.get("/healthz")
    def health() -> Response:
        return json_reply({"ready": models.ready}, status=200 if models.ready else 503)

    return routes
