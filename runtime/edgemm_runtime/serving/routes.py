"""The table of a device's routes: the one place where a path is described, at the public and the management address.

    DeviceRoute("GET", "/v2/health/live", "Whether the server runs", "Live", handler=v2_pages.live, keyless=True)

Everything else is made from it: the Flask application with its 404, 405, `Allow`, `HEAD` and `OPTIONS`, the paths that
event loops answer themselves, those that need no API key, and the OpenAPI document.

* A route has a `handler`, or an `endpoint`: then it is quick, for the loop that reads a request may ask its model.
* A route of GET answers HEAD too.
* "Live" is the schema of the answer, by its name in `openapi/schemas.py`; the handler is a function in `pages/`.
* Of two paths that fit, the one with more fixed text answers, whatever the method: `/v2/models/M/infer` is never the
  metadata of a model called "M/infer".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Flag, auto
from functools import partial

from edgemm_runtime.serving.openapi.document import NAME, NUMBER, VERSION, Operation
from edgemm_runtime.serving.openapi.schemas import Body
from edgemm_runtime.serving.pages import health, monitor, openapi, page, shadow, tensorflow
from edgemm_runtime.serving.pages import v2 as v2_pages
from edgemm_runtime.serving.pages.asked import Handler
from edgemm_runtime.serving.protocols import sequence_fields
from edgemm_runtime.serving.protocols.endpoints import Endpoint
from edgemm_runtime.serving.protocols.predict.endpoint import PredictEndpoint
from edgemm_runtime.serving.protocols.tensorflow.codec import Verb
from edgemm_runtime.serving.protocols.tensorflow.endpoint import ServingEndpoint
from edgemm_runtime.serving.protocols.v2.endpoint import InferEndpoint


class Listener(Flag):
    """The addresses of a device; a route is at one of them or at both."""

    PUBLIC = auto()
    MANAGEMENT = auto()
    BOTH = PUBLIC | MANAGEMENT


@dataclass(frozen=True)
class DeviceRoute(Operation):
    """One method of a path, what answers it, and how the document describes it."""

    handler: Handler | None = None
    endpoint: Callable[..., Endpoint] | None = None
    """Makes what asks a model: of the registry, the limits, and the words of the path by name."""

    at: Listener = Listener.PUBLIC

    def __post_init__(self) -> None:
        assert (self.handler is None) is not (self.endpoint is None), f"{self.path}: expected a handler or an endpoint"
        assert not (self.keyless and "{" in self.path), f"{self.path}: expected a fixed path where no key is asked for"

    @property
    def quick(self) -> bool:
        """Whether the loop that reads a request may answer it, where the model is quick."""
        return self.endpoint is not None


def routes_at(listener: Listener, routes: Iterable[DeviceRoute]) -> tuple[DeviceRoute, ...]:
    """Return the routes of one address."""
    return tuple(route for route in routes if listener in route.at)


def keyless_paths(routes: Collection[DeviceRoute]) -> frozenset[str]:
    """Return the paths that are answered without the API key, whatever the method."""
    keyed = {route.path for route in routes if not route.keyless}
    found = frozenset(route.path for route in routes if route.keyless)
    assert not found & keyed, f"{min(found & keyed)}: expected all methods with the key, or all without it"
    return found


def _versioned(route: DeviceRoute, segment: str = VERSION) -> tuple[DeviceRoute, DeviceRoute]:
    """Return a route of a model, and the same of one version."""
    return route, replace(route, path=route.path.replace(NAME, f"{NAME}/versions/{segment}"))


_TOP = {
    "name": "top",
    "in": "query",
    "description": "How many classes to name.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 100},
}
_HEADER_LENGTH = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "The length of the JSON before binary tensors, in bytes.",
    "schema": {"type": "integer", "minimum": 0},
}
_FLAG = {"type": "string", "enum": ["true", "false"]}
_SEQUENCE = (
    {
        "name": sequence_fields.ID_HEADER, "in": "header", "required": True, "description": "Its sequence.",
        "schema": {"type": "string", "minLength": 1, "maxLength": sequence_fields.LONGEST_ID},
    },
    {"name": sequence_fields.START_HEADER, "in": "header", "description": "Whether it begins here.", "schema": _FLAG},
    {"name": sequence_fields.END_HEADER, "in": "header", "description": "Whether it ends here.", "schema": _FLAG},
)  # fmt: skip
_OF_A_MODEL = (404,)
_OF_V1 = (404, 405)
"""A colon in the name makes it the path of a verb."""
_V2, _V1 = "/v2/models/{name}", "/v1/models/{name}"
_LOAD, _UNLOAD = "/v2/repository/models/{name}/load", "/v2/repository/models/{name}/unload"

_SERVER = (
    DeviceRoute(
        "GET", "/", "A page to try the models", "Text", handler=page.page, media_type="text/html", keyless=True
    ),
    DeviceRoute("GET", "/models", "The models of the page", "ShownModels", handler=page.models),
    DeviceRoute("GET", "/openapi.json", "This document", "Document", handler=openapi.describe, at=Listener.BOTH),
    DeviceRoute(
        "GET", "/healthz", "Whether every model is ready", "Health", handler=health.health, own_answer=(503,),
        keyless=True,
    ),
    DeviceRoute(
        "GET", "/metrics", "Counters for Prometheus", "Text", handler=health.scrape, media_type="text/plain"
    ),
    DeviceRoute("GET", "/monitor", "How right the models are, without labels", "MonitorReport", handler=monitor.read),
    DeviceRoute("GET", "/shadow", "How candidates agree with the active models", "ShadowReports", handler=shadow.read),
)  # fmt: skip
_OPEN_INFERENCE = (
    DeviceRoute(
        "GET", "/v2/", "Name, version and extensions of the server", "Server", handler=v2_pages.server_metadata,
        at=Listener.BOTH,
    ),
    DeviceRoute(
        "GET", "/v2/health/live", "Whether the server runs", "Live", handler=v2_pages.live, keyless=True,
        at=Listener.BOTH,
    ),
    DeviceRoute(
        "GET", "/v2/health/ready", "Whether every model is ready", "Ready", handler=v2_pages.ready, own_answer=(503,),
        keyless=True, at=Listener.BOTH,
    ),
    DeviceRoute(
        "GET", "/v2/models/stats", "Counts and times of all models", "Statistics", handler=v2_pages.all_statistics,
        at=Listener.BOTH,
    ),
    *_versioned(
        DeviceRoute(
            "GET", _V2, "Tensors of a model", "ModelMetadata", handler=v2_pages.model_metadata, statuses=_OF_A_MODEL,
            at=Listener.BOTH,
        )
    ),
    *_versioned(
        DeviceRoute(
            "GET", _V2 + "/ready", "Whether a model is ready", "ModelReady", handler=v2_pages.model_ready,
            own_answer=(404, 503), at=Listener.BOTH,
        )
    ),
    *_versioned(
        DeviceRoute(
            "GET", _V2 + "/stats", "Counts and times", "Statistics", handler=v2_pages.model_statistics,
            statuses=_OF_A_MODEL, at=Listener.BOTH,
        )
    ),
    *_versioned(
        DeviceRoute(
            "GET", _V2 + "/config", "Triton's configuration", "Object", handler=v2_pages.configuration,
            statuses=_OF_A_MODEL, at=Listener.BOTH,
        )
    ),
    *_versioned(
        DeviceRoute(
            "POST", _V2 + "/infer", "Ask a model", "InferResponse", endpoint=InferEndpoint, body=Body.INFER,
            statuses=_OF_A_MODEL, parameters=(_HEADER_LENGTH,),
        )
    ),
    DeviceRoute(
        "POST", "/v2/repository/index", "Every model with its state", "Index", handler=v2_pages.index, at=Listener.BOTH
    ),
    DeviceRoute(
        "POST", _LOAD, "Not for clients", "Nothing", handler=v2_pages.loading_is_not_here, statuses=(409,)
    ),
    DeviceRoute(
        "POST", _UNLOAD, "Not for clients", "Nothing", handler=v2_pages.loading_is_not_here, statuses=(409,)
    ),
    DeviceRoute(
        "POST", _LOAD, "Serve a model from its bundle file", "Object", handler=v2_pages.load, statuses=(404, 409),
        at=Listener.MANAGEMENT,
    ),
    DeviceRoute(
        "POST", _UNLOAD, "Take a model out of serving", "Object", handler=v2_pages.unload, statuses=_OF_A_MODEL,
        at=Listener.MANAGEMENT,
    ),
    DeviceRoute(
        "POST", "/v2/feedback", "Tell the right class of an earlier request", "Agreement", handler=v2_pages.feedback,
        body=Body.LABEL, statuses=(404,),
    ),
)  # fmt: skip
_PREDICT = (
    DeviceRoute(
        "POST", "/predict", "Ask the only model", "Prediction", endpoint=PredictEndpoint, body=Body.ONLY,
        statuses=_OF_A_MODEL, parameters=(_TOP,), sequence=_SEQUENCE,
    ),
    DeviceRoute(
        "POST", "/predict/{name}", "Ask a model", "Prediction", endpoint=PredictEndpoint, body=Body.PREDICT,
        statuses=_OF_A_MODEL, parameters=(_TOP,), sequence=_SEQUENCE,
    ),
)  # fmt: skip
_TENSORFLOW_SERVING = (
    *_versioned(
        DeviceRoute(
            "GET", _V1, "State of a model", "ServingStatus", handler=tensorflow.state, statuses=_OF_V1,
            own_answer=(503,),
        ),
        NUMBER,
    ),
    *_versioned(
        DeviceRoute(
            "GET", _V1 + "/metadata", "Signature", "Object", handler=tensorflow.signature, statuses=_OF_V1
        ),
        NUMBER,
    ),
    *_versioned(
        DeviceRoute(
            "POST", _V1 + ":predict", "Ask a model", "ServingPrediction",
            endpoint=partial(ServingEndpoint, verb=Verb.PREDICT), body=Body.INSTANCES, statuses=_OF_V1,
            sequence=_SEQUENCE,
        ),
        NUMBER,
    ),
    *_versioned(
        DeviceRoute(
            "POST", _V1 + ":classify", "Classes of samples", "Results",
            endpoint=partial(ServingEndpoint, verb=Verb.CLASSIFY), body=Body.EXAMPLES, statuses=_OF_V1,
            sequence=_SEQUENCE,
        ),
        NUMBER,
    ),
    *_versioned(
        DeviceRoute(
            "POST", _V1 + ":regress", "Values of samples", "Results",
            endpoint=partial(ServingEndpoint, verb=Verb.REGRESS), body=Body.EXAMPLES, statuses=_OF_V1,
            sequence=_SEQUENCE,
        ),
        NUMBER,
    ),
    DeviceRoute(
        "POST", _V1 + ":{verb}", "No other verb", "Nothing", handler=tensorflow.verb_is_not_here, described=False
    ),
)  # fmt: skip

ROUTES: Sequence[DeviceRoute] = (*_SERVER, *_OPEN_INFERENCE, *_PREDICT, *_TENSORFLOW_SERVING)
"""All routes of a device."""
