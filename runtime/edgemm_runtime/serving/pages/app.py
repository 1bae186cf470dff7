"""The WSGI application of one serving process: a factory and one blueprint per protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flask import Flask

from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.pages import health, openapi, shadow, tensorflow, v2
from edgemm_runtime.serving.pages.errors import register_errors


def create_app(
    models: ModelRegistry,
    limits: ServingLimits,
    *,
    statuses: Callable[[], Mapping[int, int]] = dict,
    keyed: bool = False,
) -> Flask:
    """Return an application that serves `models`.

    `statuses` are the counts of the server's answers; `keyed` tells clients that the server asks for an API key.
    """
    app = Flask("edgemm_runtime", static_folder=None)
    app.url_map.merge_slashes = False  # a path of that kind is not here; a redirect would lose what was sent
    app.config["MAX_CONTENT_LENGTH"] = limits.max_body_bytes
    register_errors(app, max_body_bytes=limits.max_body_bytes)
    app.register_blueprint(v2.make_blueprint(models, limits))
    app.register_blueprint(tensorflow.make_blueprint(models, limits))
    app.register_blueprint(health.make_blueprint(models, limits, statuses))
    app.register_blueprint(shadow.make_blueprint(models.shadows))
    app.register_blueprint(openapi.make_blueprint(models, keyed=keyed))
    return app
