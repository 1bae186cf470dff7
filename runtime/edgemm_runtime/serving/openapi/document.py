"""The OpenAPI 3.1 document of a device (`GET /openapi.json`), with the tensors of the served models. Pure.

`OPERATIONS` is the one place where an endpoint is described; a test compares it with the application's routes. Paths
with a model's name are written out for each model, so that each has the schemas of its own signature.

Source: the OpenAPI Specification 3.1.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgemm import __version__
from edgemm.bundle.manifest import Manifest
from edgemm_runtime.serving.openapi.schemas import ANSWERS, ERROR, Body, request_body

NAME = "{name}"
VERSION = "{version}"
NUMBER = "{number}"
_JSON = "application/json"
_WHEN: Mapping[int, str] = {
    400: "The request is not what the endpoint takes.",
    401: "The API key is missing or wrong.",
    404: "No such path, model, version or prediction.",
    405: "The path has no such method.",
    408: "The request did not come in time.",
    409: "Clients may not do this here.",
    413: "The body is larger than the server takes.",
    429: "Too many requests wait: see Retry-After.",
    431: "The head of the request is larger than the server takes.",
    500: "The server or the model's engine failed.",
    503: "A model is not ready, or too many large bodies are on their way.",
    504: "It was not answered in time.",
}
_ANYWHERE = (400, 408, 413, 429, 431, 500, 503, 504)
_OF_A_MODEL = (404,)
_OF_V1 = (404, 405)
"""A colon in the name or number makes it the path of a verb, or of another one."""


@dataclass(frozen=True)
class Operation:
    """One endpoint: `path` with `{name}`, `{version}` and `{number}`; `rule` is Flask's where that is another one."""

    method: str
    path: str
    summary: str
    answer: str
    """The name of its answer in `ANSWERS`."""

    body: Body | None = None
    statuses: tuple[int, ...] = ()
    """Errors beside those that any request may meet."""

    own_answer: tuple[int, ...] = ()
    """Statuses other than 200 that come with the answer of 200, not with an error."""

    media_type: str = _JSON
    parameters: tuple[Mapping[str, Any], ...] = ()
    keyless: bool = False
    """It is answered without the API key."""

    rule: str = ""

    @property
    def flask_rule(self) -> str:
        """The rule of Flask's that answers it."""
        return self.rule or self.path.replace(NAME, "<path:name>").replace(VERSION, "<version>")


@dataclass(frozen=True)
class Described:
    """A model under the name that it is served by; None in place of its manifest while it is still to come."""

    name: str
    manifest: Manifest | None


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
_V1_ASKED, _V1_DESCRIBED = "/v1/models/<asking:rest>", "/v1/models/<described:rest>"


def _versioned(operation: Operation) -> tuple[Operation, Operation]:
    """Return an endpoint of a model, and the same of one version."""
    fields = {field: getattr(operation, field) for field in Operation.__dataclass_fields__}
    segment = f"{NAME}/versions/{NUMBER if operation.rule else VERSION}"
    return operation, Operation(**fields | {"path": operation.path.replace(NAME, segment)})


OPERATIONS: tuple[Operation, ...] = (
    Operation("GET", "/openapi.json", "This document", "Document"),
    Operation("GET", "/healthz", "Whether every model is ready", "Health", own_answer=(503,), keyless=True),
    Operation("GET", "/metrics", "Counters for Prometheus", "Text", media_type="text/plain"),
    Operation("GET", "/shadow", "How candidates agree with the active models", "ShadowReports"),
    Operation("GET", "/v2/", "Name, version and extensions of the server", "Server"),
    Operation("GET", "/v2/health/live", "Whether the server runs", "Live", keyless=True),
    Operation("GET", "/v2/health/ready", "Whether every model is ready", "Ready", own_answer=(503,), keyless=True),
    Operation("GET", "/v2/models/stats", "Counts and times of all models", "Statistics"),
    *_versioned(Operation("GET", "/v2/models/{name}", "Tensors of a model", "ModelMetadata", statuses=_OF_A_MODEL)),
    *_versioned(
        Operation("GET", "/v2/models/{name}/ready", "Whether a model is ready", "ModelReady", own_answer=(404, 503))
    ),
    *_versioned(
        Operation("GET", "/v2/models/{name}/stats", "Counts and times", "Statistics", statuses=_OF_A_MODEL)
    ),
    *_versioned(
        Operation("GET", "/v2/models/{name}/config", "Triton's configuration", "Object", statuses=_OF_A_MODEL)
    ),
    *_versioned(
        Operation(
            "POST", "/v2/models/{name}/infer", "Ask a model", "InferResponse", body=Body.INFER,
            statuses=_OF_A_MODEL, parameters=(_HEADER_LENGTH,),
        )
    ),
    Operation("POST", "/v2/repository/index", "Every model with its state", "Index"),
    Operation("POST", "/v2/repository/models/{name}/load", "Not for clients", "Nothing", statuses=(409,)),
    Operation("POST", "/v2/repository/models/{name}/unload", "Not for clients", "Nothing", statuses=(409,)),
    Operation(
        "POST", "/v2/feedback", "Tell the right class of an earlier request", "Agreement", body=Body.LABEL,
        statuses=(404,),
    ),
    Operation(
        "POST", "/predict", "Ask the only model", "Prediction", body=Body.ONLY, statuses=_OF_A_MODEL,
        parameters=(_TOP,),
    ),
    Operation(
        "POST", "/predict/{name}", "Ask a model", "Prediction", body=Body.PREDICT, statuses=_OF_A_MODEL,
        parameters=(_TOP,),
    ),
    *_versioned(
        Operation(
            "GET", "/v1/models/{name}", "State of a model", "ServingStatus", statuses=_OF_V1, own_answer=(503,),
            rule=_V1_DESCRIBED,
        )
    ),
    *_versioned(
        Operation("GET", "/v1/models/{name}/metadata", "Signature", "Object", statuses=_OF_V1, rule=_V1_DESCRIBED)
    ),
    *_versioned(
        Operation(
            "POST", "/v1/models/{name}:predict", "Ask a model", "ServingPrediction", body=Body.INSTANCES,
            statuses=_OF_V1, rule=_V1_ASKED,
        )
    ),
    *_versioned(
        Operation(
            "POST", "/v1/models/{name}:classify", "Classes of samples", "Results", body=Body.EXAMPLES,
            statuses=_OF_V1, rule=_V1_ASKED,
        )
    ),
    *_versioned(
        Operation(
            "POST", "/v1/models/{name}:regress", "Values of samples", "Results", body=Body.EXAMPLES,
            statuses=_OF_V1, rule=_V1_ASKED,
        )
    ),
)  # fmt: skip


def document(models: Sequence[Described], *, keyed: bool) -> dict[str, Any]:
    """Return the document; `keyed` tells that an API key is asked for."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        for model in (models or (Described(NAME, None),)) if NAME in operation.path else (None,):
            path = operation.path.replace(NAME, model.name) if model else operation.path
            described = _operation(operation, path, model, models, keyed=keyed)
            paths.setdefault(path, {})[operation.method.lower()] = described
    schemes = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "edgemm device", "version": __version__},
        "paths": paths,
        "components": {"schemas": {**ANSWERS, "Error": ERROR}} | ({"securitySchemes": schemes} if keyed else {}),
    } | ({"security": [{"bearer": []}, {"key": []}]} if keyed else {})


def _operation(
    operation: Operation, path: str, model: Described | None, models: Sequence[Described], *, keyed: bool
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _identifier(operation.method, path),
        "summary": operation.summary,
        "responses": _responses(operation, keyed=keyed),
    }
    if parameters := [*_path_parameters(path, model), *operation.parameters]:
        described["parameters"] = parameters
    if operation.body is not None:
        asked = models[0] if model is None and len(models) == 1 else model
        described["requestBody"] = request_body(operation.body, asked.manifest if asked else None)
    if keyed and operation.keyless:
        described["security"] = []
    return described


def _path_parameters(path: str, model: Described | None) -> list[dict[str, Any]]:
    version = {"type": "string"} | ({"enum": [model.manifest.version]} if model and model.manifest else {})
    number = {"type": "string", "pattern": "^[0-9]{1,15}$"}
    schemas = {NAME: {"type": "string"}, VERSION: version, NUMBER: number}
    return [
        {"name": name.strip("{}"), "in": "path", "required": True, "schema": schema}
        for name, schema in schemas.items()
        if name in path
    ]


def _responses(operation: Operation, *, keyed: bool) -> dict[str, Any]:
    answer = {"schema": {"$ref": f"#/components/schemas/{operation.answer}"}}
    error = {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    content: dict[str, Any] = {operation.media_type: answer}
    if operation.body is Body.INFER:
        content["application/octet-stream"] = {}
    found: dict[str, Any] = {}
    if operation.answer != "Nothing":
        found["200"] = {"description": "The answer.", "content": content}
    asked_for = (401,) if keyed and not operation.keyless else ()
    for status in sorted({*_ANYWHERE, *operation.statuses, *operation.own_answer, *asked_for}):
        schemas = [answer["schema"]] if status in operation.own_answer else []
        both = {_JSON: {"schema": {"anyOf": [*schemas, error[_JSON]["schema"]]}}}
        found[str(status)] = {"description": _WHEN[status], "content": both if schemas else error}
        if status == 401:
            found["401"]["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
        if status == 429:
            found["429"]["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    return found


def _identifier(method: str, path: str) -> str:
    """Return a name for generators of clients: letters, digits and underscores."""
    words = "".join(c if c.isalnum() else "_" for c in path).strip("_")
    return f"{method.lower()}_{words}"
