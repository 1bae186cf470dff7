"""The routes for the TUF repository: its files under the names that python-tuf's client asks for, and the time."""

from __future__ import annotations

import re
from pathlib import Path

from flask import Response, send_file
from werkzeug.exceptions import TooManyRequests

from edgemm.errors import NotFoundError
from edgemm.trust.time_statement import TIME_PATH, TimeQuestion
from edgemm_fleet.api.context import FleetState
from edgemm_fleet.api.messages import Nothing
from edgemm_fleet.api.rights import Right
from edgemm_fleet.api.routes import Call, Route

_MEDIA_TYPE = "application/json"
_METADATA = re.compile(r"timestamp\.json|\d{1,10}\.[a-z0-9][a-z0-9._-]{0,80}\.json", re.ASCII)
_TARGET = re.compile(r"(models/[a-z0-9][a-z0-9._-]{0,62}/)?[0-9a-f]{64}\.[a-zA-Z0-9.-]{1,80}\.json", re.ASCII)


def get_metadata(state: FleetState, call: Call[Nothing, Nothing]) -> Response:
    """Return one file of TUF metadata."""
    return _send(state.repository.folder.metadata, call.path["name"], _METADATA)


def get_target(state: FleetState, call: Call[Nothing, Nothing]) -> Response:
    """Return one TUF target: a manifest, or `director.json`."""
    return _send(state.repository.folder.targets, call.path["name"], _TARGET)


def state_time(state: FleetState, call: Call[TimeQuestion, Nothing]) -> Response:
    """State the fleet's time over a device's nonce, signed by the key of the timestamp role."""
    address = call.request.remote_addr or ""
    answer = state.time_statements.answer(call.body, asker=call.caller.actor, address=address, now=call.now)
    if answer is None:
        raise TooManyRequests("too many questions for the time: ask again later")
    response = Response(answer, mimetype=_MEDIA_TYPE)
    response.headers["Cache-Control"] = "no-store"
    return response


def _send(folder: Path, name: str, allowed: re.Pattern[str]) -> Response:
    try:
        if allowed.fullmatch(name) is None:
            raise FileNotFoundError(name)
        response = send_file(folder / name, mimetype=_MEDIA_TYPE, conditional=False, etag=False)
    except OSError as err:
        raise NotFoundError(f"no file {name[:120]!r} in the version repository") from err
    response.headers["Cache-Control"] = "no-cache"
    return response


ROUTES = (
    Route("GET", "/tuf/metadata/<name>", get_metadata, Right.FETCH, _MEDIA_TYPE),
    Route("GET", "/tuf/targets/<path:name>", get_target, Right.FETCH, _MEDIA_TYPE),
    Route("POST", TIME_PATH, state_time, Right.FETCH, _MEDIA_TYPE, body=TimeQuestion),
)
