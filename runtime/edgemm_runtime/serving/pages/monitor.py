"""The handler of `GET /monitor`: how right the models are, as far as that can be told without labels."""

from __future__ import annotations

from edgemm_runtime.http.exchange import Reply, json_body
from edgemm_runtime.monitoring.monitor_report import report
from edgemm_runtime.serving.pages.asked import Asked


def read(asked: Asked) -> Reply:
    """Tell the estimated accuracy of each model that can be monitored."""
    return json_body(report(asked.device.models.watched()))
