"""The route `GET /shadow`: the report on the shadows."""

from __future__ import annotations

from flask import Blueprint, Response

from edgemm_runtime.serving.pages.errors import json_reply
from edgemm_runtime.shadow.report import report
from edgemm_runtime.shadow.running import RunningShadows


def make_blueprint(shadows: RunningShadows) -> Blueprint:
    """Return the route."""
    routes = Blueprint("shadows", __name__)

    @routes.get("/shadow")
    def read() -> Response:
        return json_reply(report(shadows.statuses(), shadows.counts()))

    return routes
