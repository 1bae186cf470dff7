"""The HTTP statuses of errors, in one place, and the one form that all error answers take.

A request that is wrong ends in 4xx; 5xx means that something is wrong here: a full disk, or a bug.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import msgspec
from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from edgemm import errors
from edgemm.errors import EdgemmError
from edgemm.outlet.escaping import shortened
from edgemm.transport.refusal import ErrorAnswer, ErrorDetail
from edgemm_fleet.filters import RefusedFilterError
from edgemm_fleet.http.answers import ServedAnswer
from edgemm_fleet.worker import ToldFailure

logger = logging.getLogger(__name__)
_MOST_MESSAGE = 1000


@dataclass(frozen=True)
class ErrorReply:
    """How an error is answered."""

    status: int
    code: str
    hint: str


# The most special class comes first.
OUTCOMES: tuple[tuple[type[EdgemmError], ErrorReply], ...] = (
    (errors.DigestMismatchError, ErrorReply(400, "digest_mismatch", "send the bytes of that digest again")),
    (errors.TooLargeError, ErrorReply(413, "too_large", "send less")),
    (errors.BundleLimitError, ErrorReply(413, "too_large", "send less")),
    (errors.NotFoundError, ErrorReply(404, "not_found", "check the name; the lists of the API show what there is")),
    (errors.ConflictError, ErrorReply(409, "conflict", "look at the present state, then decide anew")),
    (errors.UnavailableError, ErrorReply(503, "unavailable", "try the same again later")),
    (RefusedFilterError, ErrorReply(400, "bad_request", "docs/filters.md has the grammar of filters")),
    (errors.BadRequestError, ErrorReply(400, "bad_request", "GET /api/v1/openapi.json describes every request")),
    (errors.InputError, ErrorReply(400, "bad_request", "GET /api/v1/openapi.json describes every request")),
    (errors.MessageError, ErrorReply(400, "bad_request", "GET /api/v1/openapi.json describes every request")),
    (errors.BundleError, ErrorReply(400, "bad_bundle", "verify the bundle on your side: edgemm inspect BUNDLE")),
    (errors.PermissionDeniedError, ErrorReply(403, "forbidden", "ask an administrator of the fleet")),
    (errors.TrustError, ErrorReply(403, "untrusted", "check key, token and clock on your side")),
    (errors.EnvironmentFailure, ErrorReply(503, "environment", "the server's log says more; its disk may be full")),
)
_HINTS = {
    401: "log in again: edgemm fleet login URL",
    404: "GET /api/v1/openapi.json lists every address",
    405: "GET /api/v1/openapi.json lists every address and its methods",
    413: "send less; GET /api/v1/openapi.json names the limits",
    429: "wait as long as Retry-After says",
    416: "ask for a range within the blob",
}


def outcome(error: EdgemmError) -> ErrorReply:
    """Return how an error is answered."""
    for kind, found in OUTCOMES:
        if isinstance(error, kind):
            return found
    return ErrorReply(500, "internal", "the server's log says more")


def answer(status: int, code: str, message: str, *, hint: str, column: int | None = None) -> Response:
    """Return the JSON answer of an error; of a long message, which repeats what was sent, the middle is cut."""
    detail = ErrorDetail(code=code, message=shortened(message, most=_MOST_MESSAGE), hint=hint, column=column)
    body = msgspec.json.encode(ErrorAnswer(error=detail))
    return Response(body, status=status, mimetype="application/json")


def served(error: EdgemmError) -> ServedAnswer:
    """Return the answer of an error that comes when the application has answered already; log it if it is ours."""
    found = outcome(error)
    if found.status >= 500:
        logger.error("request failed code=%s error=%s", found.code, shortened(str(error), most=_MOST_MESSAGE))
    told = answer(found.status, found.code, str(error), hint=found.hint)
    return ServedAnswer(found.status, tuple(told.headers.items()), told.get_data())


def register(app: Flask) -> None:
    """Let every error of an app take this form."""

    @app.errorhandler(EdgemmError)
    def ours(error: EdgemmError) -> Response:
        found = outcome(error)
        if found.status >= 500 and not isinstance(error, ToldFailure):
            logger.error("request failed code=%s error=%s", found.code, shortened(str(error), most=_MOST_MESSAGE))
        column = error.column if isinstance(error, RefusedFilterError) else None
        return answer(found.status, found.code, str(error), hint=found.hint, column=column)

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        status = error.code or 500
        code = error.name.lower().replace(" ", "_")
        response = answer(status, code, error.description or error.name, hint=_HINTS.get(status, "see the message"))
        if status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        if status == 429:
            response.headers.update({n: v for n, v in error.get_headers() if n == "Retry-After"})
        if status == 416:
            response.headers.update({n: v for n, v in error.get_headers() if n == "Content-Range"})
        return response

    @app.errorhandler(Exception)
    def unforeseen(error: Exception) -> Response:
        # The boundary of a request: one bug must not take the server's thread, nor show its insides.
        logger.error("request failed code=internal", exc_info=error)
        return answer(500, "internal", "this server failed; nothing was changed", hint="the server's log says more")
