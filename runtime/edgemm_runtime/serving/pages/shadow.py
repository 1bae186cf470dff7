"""The handler of `GET /shadow`: what the shadows found."""

from __future__ import annotations

from edgemm_runtime.http.exchange import Reply, json_body
from edgemm_runtime.serving.pages.asked import Asked
from edgemm_runtime.shadow.report import report


def read(asked: Asked) -> Reply:
    """Tell how each candidate agrees with its active model."""
    shadows = asked.device.models.shadows
    return json_body(report(shadows.statuses(), shadows.counts()))
