"""The routes of the Open Inference Protocol v2: a thin blueprint around `serving.v2`."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, Response
from werkzeug.exceptions import MethodNotAllowed

from edgemm import __version__
from edgemm.errors import ConflictError, NotFoundError, UnavailableError
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.feedback import decode_label
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.pages.errors import flask_reply, json_reply, whole_request
from edgemm_runtime.serving.protocols.endpoints import InferEndpoint, answer
from edgemm_runtime.serving.protocols.v2 import messages, triton


def make_blueprint(models: ModelRegistry, limits: ServingLimits) -> Blueprint:
    """Return the routes under `/v2`."""
    routes = Blueprint("open_inference", __name__, url_prefix="/v2")
    add_descriptions(routes, models, extensions=messages.EXTENSIONS)

    @routes.post("/models/<path:name>/infer", defaults={"version": None})
    @routes.post("/models/<path:name>/versions/<version>/infer")
    def infer(name: str, version: str | None) -> Response:
        return flask_reply(answer(InferEndpoint(models, limits, name, version), whole_request()))

    @routes.post("/repository/models/<path:name>/load")
    @routes.post("/repository/models/<path:name>/unload")
    def loading_is_not_here(name: str) -> Response:
        raise ConflictError(
            f"model {name[:80]!r}: models are loaded by the command line, by the fleet, or over the management "
            "address (edgemm run --manage), not by clients"
        )

    @routes.post("/feedback")
    def feedback() -> Response:
        told = decode_label(whole_request().body)
        name = told.model or models.only().name
        prediction, agreed = models.feedback.label(name, told.id, told.label)
        return json_reply(
            {
                "id": told.id,
                "model": name,
                "version": prediction.key.version,
                "predicted": prediction.name,
                "agreed": agreed,
            }
        )

    @routes.get("/models/<path:name>/infer")
    def infer_is_a_post(name: str) -> Response:  # noqa: ARG001 - or it would be metadata of a model "M/infer"
        raise MethodNotAllowed(["POST"])

    return routes


def add_descriptions(routes: Blueprint, models: ModelRegistry, *, extensions: Sequence[str]) -> None:
    """Add what only tells: health, metadata, statistics, configuration and the index of the repository."""
    _add_health(routes, models, extensions=extensions)
    _add_repository(routes, models)

    @routes.get("/models/<path:name>", defaults={"version": None})
    @routes.get("/models/<path:name>/versions/<version>")
    def model_metadata(name: str, version: str | None) -> Response:
        served = models.get(name, version=version)
        return json_reply(messages.model_metadata(name, served.manifest, served.variant))


def _add_repository(routes: Blueprint, models: ModelRegistry) -> None:
    @routes.get("/models/stats")
    def all_statistics() -> Response:
        return json_reply(triton.statistics(models.snapshot()))

    @routes.get("/models/<path:name>/stats", defaults={"version": None})
    @routes.get("/models/<path:name>/versions/<version>/stats")
    def statistics(name: str, version: str | None) -> Response:
        models.get(name, version=version)
        wanted = [s for s in models.snapshot() if s.key.name == name and version in {None, s.key.version}]
        return json_reply(triton.statistics(wanted))

    @routes.get("/models/<path:name>/config", defaults={"version": None})
    @routes.get("/models/<path:name>/versions/<version>/config")
    def configuration(name: str, version: str | None) -> Response:
        served = models.get(name, version=version)
        return json_reply(triton.configuration(name, served.manifest, served.variant))

    @routes.post("/repository/index")
    def index() -> Response:
        asked = triton.read_index_request(whole_request().body)
        return json_reply(triton.index(models.versions(), models.unloaded(), asked=asked))


def _add_health(routes: Blueprint, models: ModelRegistry, *, extensions: Sequence[str]) -> None:
    @routes.get("/", strict_slashes=False)
    def server_metadata() -> Response:
        return json_reply({"name": "edgemm", "version": __version__, "extensions": extensions})

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
