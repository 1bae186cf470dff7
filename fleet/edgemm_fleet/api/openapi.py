"""The OpenAPI 3.1 document of the API, generated from the table of routes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from edgemm import __version__
from edgemm.transport.refusal import ErrorAnswer
from edgemm_fleet.api.messages import Nothing
from edgemm_fleet.api.rights import Right
from edgemm_fleet.api.routes import Route

_REFERENCE = "#/components/schemas/{name}"
_STATUS_TEXT = {200: "Done.", 201: "Made.", 204: "Done; no body."}


def document(routes: Sequence[Route], *, fleet: str) -> dict[str, Any]:
    """Return the document of these routes."""
    kinds = _kinds(routes)
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    by_kind = dict(zip(map(repr, kinds), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route, by_kind)
    return {
        "openapi": "3.1.0",
        "info": {"title": f"edgemm fleet {fleet}", "version": __version__},
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "paths": paths,
    }


def _kinds(routes: Sequence[Route]) -> list[Any]:
    found: dict[str, Any] = {repr(ErrorAnswer): ErrorAnswer}
    for route in routes:
        found |= {repr(kind): kind for kind in (route.body, route.answer) if _is_message(kind)}
    return list(found.values())


def _is_message(kind: Any) -> bool:
    return kind not in {Nothing, bytes} and not isinstance(kind, str)


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": f"Needs: {route.access.value}.",
        "security": [] if route.access is Right.PUBLIC else [{"bearer": []}],
        "parameters": [*map(_place, route.places), *_query(route.query)],
        "responses": {
            str(route.status): {"description": _STATUS_TEXT[route.status], **_content(route.answer, schemas)},
            "default": {"description": "What went wrong.", **_content(ErrorAnswer, schemas)},
        },
    }
    if route.body is not Nothing:
        operation["requestBody"] = {"required": True, **_content(route.body, schemas)}
    return operation


def _content(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    if kind is Nothing:
        return {}
    if kind is bytes:
        return {"content": {"application/octet-stream": {}}}
    if isinstance(kind, str):
        return {"content": {kind: {}}}
    return {"content": {"application/json": {"schema": schemas[repr(kind)]}}}


def _place(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query(kind: type[Struct]) -> list[dict[str, Any]]:
    if kind is Nothing:
        return []
    _, components = msgspec.json.schema_components([kind], ref_template=_REFERENCE)
    properties = components[kind.__name__]["properties"]
    return [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in properties.items()]
