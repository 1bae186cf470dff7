"""The routes of TensorFlow Serving's REST: a thin blueprint around its codec."""

from __future__ import annotations

import re

from flask import Blueprint, Response
from werkzeug.routing import BaseConverter

from edgemm.errors import NotFoundError, UnavailableError
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.pages.errors import flask_reply, json_reply, whole_request
from edgemm_runtime.serving.protocols.endpoints import Endpoints, answer, find_by_number
from edgemm_runtime.serving.protocols.tensorflow import codec as tensorflow_codec

_MODEL = re.compile(r"(?P<name>.+?)(?:/versions/(?P<number>[0-9]{1,15}))?(?P<metadata>/metadata)?", re.DOTALL)


class _Asking(BaseConverter):
    """A model's path with a verb behind the last colon: `NAME[/versions/NUMBER]:VERB`."""

    regex, part_isolating = r"[^/].*:[^:/]*", False


class _Described(BaseConverter):
    """A model's path without a verb: no colon behind the last slash."""

    regex, part_isolating = r"[^/](?:.*/)?[^:/]*", False


def make_blueprint(models: ModelRegistry, limits: ServingLimits) -> Blueprint:
    """Return the routes under `/v1`."""
    routes, endpoints = Blueprint("tensorflow_serving", __name__, url_prefix="/v1"), Endpoints(models, limits)
    # Two rules, not one path with two methods: `Allow` then says what each takes.
    converters = {"asking": _Asking, "described": _Described}
    routes.record_once(lambda state: state.app.url_map.converters.update(converters))

    @routes.post("/models/<asking:rest>")
    def ask(rest: str) -> Response:
        request = whole_request()
        endpoint = endpoints.find(request.head.path)
        if endpoint is None:
            raise NotFoundError(
                f"expected /v1/models/NAME[/versions/NUMBER]:predict, :classify or :regress, found {rest[:80]!r}; "
                "versions have no labels here"
            )
        return flask_reply(answer(endpoint, request))

    @routes.get("/models/<described:rest>")
    def describe(rest: str) -> Response:
        found = _MODEL.fullmatch(rest)
        assert found is not None, "a path is not empty"
        name, number = found["name"], found["number"]
        if found["metadata"]:
            return json_reply(tensorflow_codec.metadata(name, find_by_number(models, name, number).manifest))
        try:
            served = find_by_number(models, name, number)
        except UnavailableError:
            return json_reply(tensorflow_codec.status("", available=False), status=503)
        return json_reply(tensorflow_codec.status(served.manifest.version, available=True))

    return routes
