"""The Open Inference Protocol v2 over HTTP: a thin blueprint around `serving.v2`."""

from __future__ import annotations

from flask import Blueprint, Response
from werkzeug.exceptions import MethodNotAllowed

from edgemm import __version__
from edgemm.errors import NotFoundError, UnavailableError
from edgemm_runtime.serving import v2
from edgemm_runtime.serving.endpoints import InferEndpoint
from edgemm_runtime.serving.limits import ServingLimits
from edgemm_runtime.serving.registry import ModelRegistry
from edgemm_runtime.serving.replies import flask_reply, json_reply, whole_request


def make_blueprint(models: ModelRegistry, limits: ServingLimits) -> Blueprint:
    """Return the routes under `/v2`."""
    routes = Blueprint("open_inference", __name__, url_prefix="/v2")
    _add_health(routes, models)

    @routes.get("/models/<path:name>", defaults={"version": None})
    @routes.get("/models/<path:name>/versions/<version>")
    def model_metadata(name: str, version: str | None) -> Response:
        served = models.get(name, version=version)
        return json_reply(v2.model_metadata(name, served.manifest, served.variant))

    @routes.post("/models/<path:name>/infer", defaults={"version": None})
    @routes.post("/models/<path:name>/versions/<version>/infer")
    def infer(name: str, version: str | None) -> Response:
        return flask_reply(InferEndpoint(models, limits, name, version).answer(whole_request()))

    @routes.get("/models/<path:name>/infer")
    def infer_is_a_post(name: str) -> Response:  # noqa: ARG001 - or it would be metadata of a model "M/infer"
        raise MethodNotAllowed(["POST"])

    return routes


def _add_health(routes: Blueprint, models: ModelRegistry) -> None:
    @routes.get("/", strict_slashes=False)
    def server_metadata() -> Response:
        return json_reply({"name": "edgemm", "version": __version__, "extensions": v2.EXTENSIONS})

    @routes.get("/health/live")
    def live() -> Response:
        return json_reply({"live": True})

    @routes.get("/health/ready")
    def ready() -> Response:
        return json_reply({"live": True, "ready": models.ready}, status=200 if models.ready else 503)

    @routes.get("/models/<path:name>/ready", defaults={"version": None})
    @routes.get("/models/<path:name>/versions/<version>/ready")
    def model_ready(name: str, version: str | None) -> Response:
        try:
            models.get(name, version=version)
        except (NotFoundError, UnavailableError) as err:
            status = 404 if isinstance(err, NotFoundError) else 503
            return json_reply({"name": name, "ready": False, "error": str(err)}, status=status)
        return json_reply({"name": name, "ready": True})
