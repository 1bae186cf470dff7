"""Errors as HTTP statuses and JSON bodies: `{"error": str}` with the content type exactly `application/json`."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from edgemm.errors import (
    BadRequestError,
    ConflictError,
    EdgemmError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)
from edgemm_runtime.http.exchange import Head, Reply, Request, error_body

_log = logging.getLogger(__name__)
_JSON = "application/json"
_STATUSES: tuple[tuple[type[EdgemmError], int], ...] = (
    (BadRequestError, 400),
    (NotFoundError, 404),
    (ConflictError, 409),
    (TooLargeError, 413),
    (UnavailableError, 503),
)


def error_reply(err: EdgemmError) -> Reply:
    """Return what answers a request that raised `err`; what is the server's fault is logged."""
    status = next((status for kind, status in _STATUSES if isinstance(err, kind)), 500)
    if status == 500:
        _log.error("request failed error=%s message=%s", type(err).__name__, err)
    retry = (("Retry-After", "1"),) if status in {429, 503} else ()
    return error_body(str(err), status=status, headers=retry)


def flask_reply(reply: Reply) -> Response:
    """Return a reply as Flask gives it."""
    return Response(reply.body, reply.status, reply.headers, content_type=reply.content_type)


def whole_request() -> Request:
    """Return the request that Flask is at."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    head = Head(request.method, request.path, request.query_string.decode("latin-1"), headers)
    return Request(head, request.get_data(cache=False))


def json_reply(value: Any, *, status: int = 200) -> Response:
    """Return a value as JSON."""
    return Response(msgspec.json.encode(value), status, content_type=_JSON)


def register_errors(app: Flask, *, max_body_bytes: int) -> None:
    """Let every error of an application end in the JSON form."""

    def known(err: EdgemmError) -> Response:
        return flask_reply(error_reply(err))

    def http(err: HTTPException) -> Response:
        message = f"{err.name}: {err.description}"
        if isinstance(err, RequestEntityTooLarge):
            message = f"the body is larger than {max_body_bytes:,} bytes: send smaller batches"
        reply = json_reply({"error": message}, status=err.code or 500)
        reply.headers.extend(h for h in err.get_headers() if h[0] in {"Allow", "Location", "Retry-After"})
        return reply

    app.register_error_handler(EdgemmError, known)
    app.register_error_handler(HTTPException, http)
