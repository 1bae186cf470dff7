"""The WSGI application of one listener, made from the table of its routes, and its quick way past Flask.

Flask's URL map is the only matcher of paths: `Endpoints` asks it for what event loops answer themselves, and remembers
what it said. Each of its expressions has one part of free length at a time, so that a path costs what its length says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from flask import Flask, Response, request
from msgspec.structs import replace
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed, NotFound
from werkzeug.routing import BaseConverter, Map, Rule

from edgemm.errors import EdgemmError
from edgemm.transport.request_head import Head
from edgemm_runtime.http.bodies import plain_body
from edgemm_runtime.http.exchange import FAULT, Reply, Request, error_body, error_reply
from edgemm_runtime.serving.pages.asked import Asked, ServedDevice
from edgemm_runtime.serving.protocols.endpoints import Endpoint, answer
from edgemm_runtime.serving.routes import DeviceRoute

_MOST_REMEMBERED = 256
_LONGEST = 512
_LONGEST_TOLD = 100
_Routes = Mapping[str, DeviceRoute]
"""The routes of one path by their methods."""


class _Number(BaseConverter):
    """A version as TensorFlow Serving's clients name it."""

    regex = r"[0-9]{1,15}"


class _Verb(BaseConverter):
    """Whatever stands behind the last colon of a path."""

    regex = r"[^:/]*"


_CONVERTERS = {"number": _Number, "verb": _Verb}
_WORDS = {"name": "<path:name>", "version": "<version>", "number": "<number:number>", "verb": "<verb:verb>"}


def create_app(routes: Sequence[DeviceRoute], device: ServedDevice) -> Flask:
    """Return an application that answers `routes`; what it does not answer is 404 or 405 with `Allow`, in JSON."""
    app = Flask("edgemm_runtime", static_folder=None)
    app.url_map.merge_slashes = False  # a path of that kind is not here; a redirect would lose what was sent
    app.url_map.converters.update(_CONVERTERS)
    for path, of_path in _by_path(routes).items():
        # Of any method: what a path does not take is refused, and no wider path answers in its place.
        app.url_map.add(Rule(_rule(path), endpoint=path, strict_slashes=not path.endswith("/")))
        app.view_functions[path] = _view(of_path, device)
    app.register_error_handler(EdgemmError, lambda err: _response(error_reply(err)))
    app.register_error_handler(HTTPException, _refusal)
    return app


def _by_path(routes: Sequence[DeviceRoute]) -> Mapping[str, _Routes]:
    """Return the routes by their paths, and those of each path by their methods."""
    found: dict[str, dict[str, DeviceRoute]] = {}
    for route in routes:
        of_path = found.setdefault(route.path, {})
        assert route.method not in of_path, f"{route.method} {route.path}: expected one route, found two"
        of_path[route.method] = route
    return found


class Endpoints:
    """The endpoints that answer `POST`, by path; those that were asked for lately are kept, with what they remember."""

    def __init__(self, paths: Map, routes: Sequence[DeviceRoute], device: ServedDevice) -> None:
        self._paths, self._device = paths.bind("localhost"), device
        self._makers = {route.path: route.endpoint for route in routes if route.quick and route.method == "POST"}
        self._known: dict[str, Endpoint | None] = {}

    def find(self, path: str) -> Endpoint | None:
        """Return what answers `POST` at a path, None where no model does, or Flask is to say so.

        That is so at paths longer than any model's: a loop does not look at them.
        """
        try:
            return self._known[path]
        except KeyError:
            if len(path) > _LONGEST:
                return None
            if len(self._known) >= _MOST_REMEMBERED:
                self._known = {}
            endpoint = self._known[path] = self._make(path)
            return endpoint

    def _make(self, path: str) -> Endpoint | None:
        try:
            template, words = self._paths.match(path, method="POST")
        except HTTPException:
            return None
        make = self._makers.get(template)
        return None if make is None else make(self._device.models, self._device.limits, **words)


def _rule(path: str) -> str:
    """Return a route's path as Flask spells it."""
    return re.sub(r"{(\w+)}", lambda found: _WORDS[found[1]], path)


def _view(routes: _Routes, device: ServedDevice) -> Callable[..., Response]:
    allowed = sorted({*routes, "OPTIONS"} | ({"HEAD"} if "GET" in routes else set()))

    def view(**words: str) -> Response:
        asked = Asked(device, _whole_request(), words)
        method = asked.request.head.method
        if method == "OPTIONS":
            return Response(headers={"Allow": ", ".join(allowed)}, content_type="text/plain")
        route = routes.get(method)
        if route is None:
            raise MethodNotAllowed(allowed)
        return _response(_reply(route, asked))

    return view


def _reply(route: DeviceRoute, asked: Asked) -> Reply:
    if route.endpoint is not None:
        return answer(route.endpoint(asked.device.models, asked.device.limits, **asked.path), asked.request)
    assert route.handler is not None
    plain = asked.request
    if plain.body:
        plain = replace(plain, body=plain_body(plain, max_bytes=asked.device.limits.max_body_bytes))
    return route.handler(Asked(asked.device, plain, asked.path))


def _whole_request() -> Request:
    headers = {name.lower(): value for name, value in request.headers.items()}
    head = Head(request.method, request.path, request.query_string.decode("latin-1"), headers)
    return Request(head, request.get_data(cache=False))


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, reply.headers, content_type=reply.content_type)


def _refusal(err: HTTPException) -> Response:
    """Return what Flask refuses, in the form that all errors have.

    Flask keeps the error in its request, and the error its frames with the request: a cycle, which is cut here.
    """
    for one in (err, getattr(err, "original_exception", None)):
        if one is not None:
            one.__traceback__ = one.__context__ = None
    if isinstance(err, InternalServerError):
        return _response(FAULT)
    path = request.path[:_LONGEST_TOLD]
    if isinstance(err, MethodNotAllowed):
        allow = ", ".join(sorted(err.valid_methods or ()))
        message = f"{path} takes {allow}, found {request.method}"
        return _response(error_body(message, status=405, headers=(("Allow", allow),)))
    if isinstance(err, NotFound):
        return _response(error_body(f"nothing is at {path}: GET /openapi.json lists every path", status=404))
    return _response(error_body(f"the request cannot be answered: {err.name}", status=err.code or 500))
