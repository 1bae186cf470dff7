"""The route `GET /shadow`: the report on the shadows."""

from __future__ import annotations

from flask import Blueprint, Response

from edgemm_runtime.serving.replies import json_reply
from edgemm_runtime.shadow.board import ShadowBoard
from edgemm_runtime.shadow.report import report


def make_blueprint(shadows: ShadowBoard) -> Blueprint:
    """Return the route."""
    routes = Blueprint("shadows", __name__)

    @routes.get("/shadow")
    def read() -> Response:
        return json_reply(report(shadows.statuses(), shadows.counts()))

    return routes
