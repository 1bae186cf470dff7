"""The document of a listener's routes as OpenAPI 3.1, with the served models' tensors. Pure.

Paths with a model's name are written out for each model, so that each has the schemas of its own signature. The routes
themselves are in `serving.routes`.

Source: the OpenAPI Specification 3.1.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgemm import __version__
from edgemm.bundle.manifest import Manifest
from edgemm_runtime.request_id import HEADER as ID_HEADER
from edgemm_runtime.serving.openapi.schemas import ANSWERS, ERROR, Body, request_body

NAME = "{name}"
VERSION = "{version}"
NUMBER = "{number}"
_JSON = "application/json"
_WHEN: Mapping[int, str] = {
    400: "The request is not what the endpoint takes.",
    401: "The API key is missing or wrong.",
    403: "The request is of a web page that may not ask.",
    404: "No such path, model, version or prediction.",
    405: "The path has no such method.",
    408: "The request did not come in time.",
    409: "It cannot be done, or not here.",
    413: "The body is larger than the server takes.",
    429: "Too many requests wait: see Retry-After.",
    431: "The head of the request is larger than the server takes.",
    500: "The server or the model's engine failed.",
    501: "The body has a transfer coding that is not known here.",
    503: "A model is not ready, too many large bodies are on their way, or too many sequences run.",
    504: "It was not answered in time.",
}
_ANYWHERE = (400, 408, 413, 429, 431, 500, 501, 503, 504)


_REQUEST_ID: Mapping[str, Any] = {
    "name": ID_HEADER,
    "in": "header",
    "description": "The request's id, by which a late label finds it; answered in the same header.",
    "schema": {"type": "string"},
}


@dataclass(frozen=True)
class Operation:
    """One method of a path, as clients are told of it; `path` has `{name}`, `{version}`, `{number}` and `{verb}`."""

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
    sequence: tuple[Mapping[str, Any], ...] = ()
    """Further parameters, where the model that is asked is stateful."""

    keyless: bool = False
    """It is answered without the API key."""

    described: bool = True
    """The document tells of it; one that only refuses has no place there."""


@dataclass(frozen=True)
class Described:
    """A model under the name that it is served by; None in place of its manifest while it is still to come."""

    name: str
    manifest: Manifest | None


def document(
    operations: Sequence[Operation], models: Sequence[Described], *, keyed: bool, managed: bool = False
) -> dict[str, Any]:
    """Return the document; `keyed` tells that an API key is asked for, `managed` that all web pages are refused."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in (one for one in operations if one.described):
        for model in (models or (Described(NAME, None),)) if NAME in operation.path else (None,):
            path = operation.path.replace(NAME, model.name) if model else operation.path
            described = _operation(operation, path, model, models, keyed=keyed)
            described["responses"] = _responses(operation, keyed=keyed, managed=managed)
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
    }
    asked = models[0] if model is None and len(models) == 1 else model
    manifest = asked.manifest if asked is not None else None
    sequence = operation.sequence if manifest is not None and manifest.stateful else ()
    named = (_REQUEST_ID,) if operation.body not in {None, Body.LABEL} else ()
    if parameters := [*_path_parameters(path, model), *operation.parameters, *named, *sequence]:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = request_body(operation.body, manifest)
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


def _responses(operation: Operation, *, keyed: bool, managed: bool) -> dict[str, Any]:
    answer = {"schema": {"$ref": f"#/components/schemas/{operation.answer}"}}
    error = {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    content: dict[str, Any] = {operation.media_type: answer}
    if operation.body is Body.INFER:
        content["application/octet-stream"] = {}
    found: dict[str, Any] = {}
    if operation.answer != "Nothing":
        found["200"] = {"description": "The answer.", "content": content}
    refused = [401] * (keyed and not operation.keyless) + [403] * (managed or operation.method == "POST")
    for status in sorted({*_ANYWHERE, *operation.statuses, *operation.own_answer, *refused}):
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
