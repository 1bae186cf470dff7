"""The routes for blobs by digest: devices fetch them, with ranges; publishers upload each once."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Request, Response, send_file

from edgemm.canonical import is_digest
from edgemm.errors import NotFoundError
from edgemm_fleet.api.context import FleetState
from edgemm_fleet.api.messages import BlobsRequest, MissingBlobs, Nothing
from edgemm_fleet.api.rights import Right
from edgemm_fleet.api.routes import Call, Route

_CHUNK = 1 << 20
_MEDIA_TYPE = "application/octet-stream"


def get_blob(state: FleetState, call: Call[Nothing, Nothing]) -> Response:
    """Return a blob, or a range of it; its ETag is its digest in quotes."""
    digest = call.path["digest"]
    path = state.blobs.path(digest)
    try:
        response = send_file(path, mimetype=_MEDIA_TYPE, conditional=True, etag=digest, max_age=31_536_000)
    except OSError as err:
        raise NotFoundError(f"no blob {digest[:12]}… here") from err
    response.headers["Cache-Control"] = "private, max-age=31536000, immutable"
    return response


def put_blob(state: FleetState, call: Call[bytes, Nothing]) -> None:
    """Store a blob; it gets its name only when all its bytes are there and hash to it."""
    digest = call.path["digest"]
    if state.blobs.has(digest):
        _drain(call.request)
        return
    state.blobs.write(digest, _pieces(call.request))


def list_missing_blobs(state: FleetState, call: Call[BlobsRequest, Nothing]) -> MissingBlobs:
    """Tell which of these blobs have to be uploaded."""
    wanted = dict.fromkeys(call.body.digests)
    return MissingBlobs(digests=tuple(d for d in wanted if is_digest(d) and not state.blobs.has(d)))


def _pieces(request: Request) -> Iterator[bytes]:
    while piece := request.stream.read(_CHUNK):
        yield piece


def _drain(request: Request) -> None:
    for _ in _pieces(request):
        pass


ROUTES = (
    Route("GET", "/api/v1/blobs/<digest>", get_blob, Right.FETCH, _MEDIA_TYPE),
    Route("PUT", "/api/v1/blobs/<digest>", put_blob, Right.PUBLISH, Nothing, body=bytes, status=204),
    Route("POST", "/api/v1/blobs/missing", list_missing_blobs, Right.PUBLISH, MissingBlobs, body=BlobsRequest),
)
