"""Errors as HTTP statuses and JSON bodies: `{"error": str}` with the content type exactly `application/json`."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from flask import Flask, Response
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from edgemm.errors import (
    BadRequestError,
    ConflictError,
    EdgemmError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)

_log = logging.getLogger(__name__)
_JSON = "application/json"
_STATUSES: tuple[tuple[type[EdgemmError], int], ...] = (
    (BadRequestError, 400),
    (NotFoundError, 404),
    (ConflictError, 409),
    (TooLargeError, 413),
    (UnavailableError, 503),
)


def json_reply(value: Any, *, status: int = 200) -> Response:
    """Return a value as JSON."""
    return Response(msgspec.json.encode(value), status, content_type=_JSON)


def register_errors(app: Flask, *, max_body_bytes: int) -> None:
    """Let every error of an application end in the JSON form."""

    def known(err: EdgemmError) -> Response:
        status = next((status for kind, status in _STATUSES if isinstance(err, kind)), 500)
        if status == 500:
            _log.error("request failed error=%s message=%s", type(err).__name__, err)
        return json_reply({"error": str(err)}, status=status)

    def http(err: HTTPException) -> Response:
        message = f"{err.name}: {err.description}"
        if isinstance(err, RequestEntityTooLarge):
            message = f"the body is larger than {max_body_bytes:,} bytes: send smaller batches"
        reply = json_reply({"error": message}, status=err.code or 500)
        reply.headers.extend(h for h in err.get_headers() if h[0] in {"Allow", "Location", "Retry-After"})
        return reply

    app.register_error_handler(EdgemmError, known)
    app.register_error_handler(HTTPException, http)
