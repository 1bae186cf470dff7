"""The fleet manager's web application: every request passes the same edge, and then its route's handler.

    app = create_app(state, routes())

The edge finds out who calls, checks the right, decodes query and body into types, and turns errors into answers. The
application has no state of its own and is served by `edgemm_fleet.http`, which also sends the files that it names.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from flask import Blueprint, Flask, Response, request
from msgspec import Struct

from edgemm import canonical
from edgemm.errors import BadRequestError
from edgemm_fleet.api import error_replies, rights
from edgemm_fleet.api.context import FleetState
from edgemm_fleet.api.messages import Nothing, RequestBody
from edgemm_fleet.api.rights import Caller, Right
from edgemm_fleet.api.routes import Call, Route
from edgemm_fleet.clock import check_clock

logger = logging.getLogger(__name__)
_NOWHERE = object()
_READING = frozenset({"GET", "HEAD"})


def create_app(state: FleetState, routes: Sequence[Route], *, page: Blueprint | None = None) -> Flask:
    """Make the application that answers `routes`, with a page for people where one is given."""
    app = Flask(__name__, static_folder=None)
    app.config["USE_X_SENDFILE"] = True
    app.url_map.merge_slashes = False  # it would lead anybody to wherever the Host header says
    error_replies.register(app)
    for route in routes:
        app.add_url_rule(
            route.address,
            endpoint=f"{route.method} {route.address}",
            view_func=_view(state, route),
            methods=[route.method],
            strict_slashes=False,
            provide_automatic_options=False,
        )
    if page is not None:
        app.register_blueprint(page)
    return app


def _view(state: FleetState, route: Route) -> Callable[..., Response]:
    def view(**path: str) -> Response:
        now = state.clock()
        if request.method not in _READING:
            check_clock(now)  # what changes something is dated and mostly signed; a token would expire late or early
        caller = _caller(state, route, now=now)
        call = Call(caller, path, _query(route), _body(state, route), now, request)
        answer = route.handler(state, call)
        if request.method not in _READING:
            logger.info("operation_done operation=%s actor=%s", route.name, caller.actor)
        return _respond(answer, status=route.status)

    return view


def _caller(state: FleetState, route: Route, *, now: float) -> Caller:
    if route.access is Right.PUBLIC:
        return Caller()
    caller = rights.authenticate(
        state.store,
        request.headers.get("Authorization"),
        now=now,
        address=request.remote_addr or "",
        wrong_tokens=state.wrong_tokens,
    )
    rights.check(caller, route.access)
    return caller


def _query(route: Route) -> Any:
    # One of several would be read: of two filters, the devices of one, which may be more than are meant.
    if twice := [name for name, values in request.args.lists() if len(values) > 1]:
        raise BadRequestError(f"query of {route.name}: expected each parameter once, found {twice[0][:100]!r} again")
    try:
        return msgspec.convert(request.args.to_dict(), route.query, strict=False)
    except msgspec.ValidationError as err:
        raise BadRequestError(f"query of {route.name}: {err}") from err


def _body(state: FleetState, route: Route) -> Any:
    if route.body is Nothing:
        return Nothing()
    if route.body is bytes:
        request.max_content_length = state.limits.max_blob_bytes
        return b""
    limits = state.limits
    request.max_content_length = limits.max_publication_bytes if route.large_body else limits.max_json_bytes
    data = request.get_data(cache=False)
    if not data:
        raise BadRequestError(f"body of {route.name}: expected a JSON object, such as {{}}, found nothing")
    try:
        body = msgspec.json.decode(data, type=route.body)
        unread = _unread_field(msgspec.json.decode(data), body) if isinstance(body, RequestBody) else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise BadRequestError(f"body of {route.name}: {canonical.fault(err, data)}") from err
    if unread is not None:
        raise BadRequestError(f"body of {route.name}: unknown field at `{unread[:200]}`")
    return body


def _unread_field(sent: object, read: object, *, path: str = "$") -> str | None:
    """Return the path of the first field of plain JSON that no field of what was read of it is from; None: none is.

    What a body is made of, such as a selector, is also kept in the database and sent to devices, where fields of a
    later version are passed over. In a request that is wrong: a misspelled condition would mean all devices.
    """
    for name, value, into in _parts(sent, read):
        if into is _NOWHERE:
            return path + name
        if (found := _unread_field(value, into, path=path + name)) is not None:
            return found
    return None


def _parts(sent: object, read: object) -> Iterator[tuple[str, object, object]]:
    """Yield the parts of what was sent: name, value, and what was read of it."""
    if isinstance(sent, dict) and isinstance(read, Struct):
        names = {field.encode_name: field.name for field in msgspec.structs.fields(read)}
        for key, value in sent.items():
            yield f".{key}", value, getattr(read, names[key]) if key in names else _NOWHERE
    elif isinstance(sent, dict) and isinstance(read, dict):
        for key, value in sent.items():
            yield f".{key}", value, read.get(key)
    elif isinstance(sent, list) and isinstance(read, list | tuple):
        for number, (value, one) in enumerate(zip(sent, read, strict=True)):
            yield f"[{number}]", value, one


def _respond(answer: msgspec.Struct | Response | None, *, status: int) -> Response:
    if isinstance(answer, Response):
        return answer
    if answer is None:
        return Response(status=204)
    response = Response(msgspec.json.encode(answer), status=status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
