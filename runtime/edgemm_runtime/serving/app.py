"""The WSGI application of one serving process: a factory and one blueprint per protocol."""

from __future__ import annotations

from flask import Flask, Response

from edgemm_runtime.serving import open_inference, people, shadows
from edgemm_runtime.serving.limits import ServingLimits
from edgemm_runtime.serving.metrics import make_collectors
from edgemm_runtime.serving.registry import ModelRegistry
from edgemm_runtime.serving.replies import register_errors


def create_app(models: ModelRegistry, limits: ServingLimits) -> Flask:
    """Return an application that serves `models`."""
    app = Flask("edgemm_runtime", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = limits.max_body_bytes
    metrics, answers = make_collectors(models)
    register_errors(app, max_body_bytes=limits.max_body_bytes)
    app.register_blueprint(open_inference.make_blueprint(models, limits))
    app.register_blueprint(people.make_blueprint(models, limits, metrics))
    metrics.register(shadows.ShadowCollector(models.shadows))
    app.register_blueprint(shadows.make_blueprint(models.shadows))

    @app.after_request
    def count(response: Response) -> Response:
        answers.labels(str(response.status_code)).inc()
        return response

    return app
