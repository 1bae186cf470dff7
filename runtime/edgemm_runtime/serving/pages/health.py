"""The handlers of what monitoring asks for: `/healthz` and `/metrics`."""

from __future__ import annotations

from edgemm_runtime.http.exchange import Reply, json_body
from edgemm_runtime.serving.pages.asked import Asked


def health(asked: Asked) -> Reply:
    """Tell whether every model is ready."""
    is_ready = asked.device.models.ready
    return json_body({"ready": is_ready}, status=200 if is_ready else 503)


def load_metrics() -> None:
    """Load what `scrape` needs, which a server does before it answers: with no descriptor left, nothing is imported."""
    from edgemm_runtime.serving.metrics import model_metrics  # noqa: F401


def scrape(asked: Asked) -> Reply:
    """Tell all counters in Prometheus' text format."""
    from edgemm_runtime.serving.metrics.model_metrics import CONTENT_TYPE, exposition

    device = asked.device
    return Reply(200, exposition(device.models, device.statuses, device.tls, device.collectors), CONTENT_TYPE)
