"""What people and monitoring call: `POST /predict[/MODEL]`, `/metrics` and `/healthz`."""

from __future__ import annotations

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from edgemm_runtime.serving import plain
from edgemm_runtime.serving.bodies import decompress
from edgemm_runtime.serving.limits import ServingLimits
from edgemm_runtime.serving.registry import ModelRegistry
from edgemm_runtime.serving.replies import json_reply


def make_blueprint(models: ModelRegistry, limits: ServingLimits, metrics: CollectorRegistry) -> Blueprint:
    """Return the routes that need no protocol."""
    routes = Blueprint("people", __name__)

    @routes.post("/predict", defaults={"name": None})
    @routes.post("/predict/<path:name>")
    def predict(name: str | None) -> Response:
        served = models.only() if name is None else models.get(name)
        encoding = request.headers.get("Content-Encoding", "")
        body = decompress(request.get_data(cache=False), encoding=encoding, max_bytes=limits.max_body_bytes)
        outputs = served.predict(plain.decode_request(body, served.manifest.signature))
        return json_reply(plain.make_answer(served.manifest, outputs, name=served.name))

    @routes.get("/metrics")
    def scrape() -> Response:
        return Response(generate_latest(metrics), content_type=CONTENT_TYPE_LATEST)

    @routes.get("/healthz")
    def health() -> Response:
        return json_reply({"ready": models.ready}, status=200 if models.ready else 503)

    return routes
