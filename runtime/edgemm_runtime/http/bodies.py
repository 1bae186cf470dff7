"""The decompression of request bodies, never beyond a limit. Pure."""

from __future__ import annotations

import zlib
from io import BytesIO

from edgemm.errors import BadRequestError, TooLargeError
from edgemm_runtime.http.exchange import Request
from edgemm_runtime.http.json_faults import without_mark
from edgemm_runtime.memory.memory_budget import Holding

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_IDENTITY = {"", "identity"}
_COMPRESSED = {"gzip", "x-gzip", "deflate"}
_MOST_CODINGS = 4
_MOST_MEMBERS = 4096
_STEP_BYTES = 64 * 1024
_HEADER_LENGTH = "inference-header-content-length"


def decompress(body: bytes, *, encoding: str, max_bytes: int, holding: Holding) -> bytes:
    """Return the body behind a `Content-Encoding`: gzip, deflate, a list of them in the order of use, or none.

    `holding` grows with it.

    Raises:
        TooLargeError: it is larger than `max_bytes` after decompression, which stops there, has too many members, or
            is larger than all memory.
        UnavailableError: there is no memory for it now.
        BadRequestError: another encoding, or damaged data.
    """
    names = [name for part in encoding.lower().split(",") if (name := part.strip()) not in _IDENTITY]
    if len(names) > _MOST_CODINGS:
        raise BadRequestError(f"Content-Encoding: expected at most {_MOST_CODINGS} codings, found {len(names)}")
    if unknown := next((name for name in names if name not in _COMPRESSED), None):
        raise BadRequestError(f"Content-Encoding: expected gzip or deflate, found {unknown[:40]!r}")
    for name in reversed(names):
        body = _inflate(body, name, max_bytes=max_bytes, holding=holding)
    return body


def _inflate(body: bytes, name: str, *, max_bytes: int, holding: Holding) -> bytes:
    """Return what all members say; only gzip has several (RFC 1952, section 2.2), and zeros may follow the last."""
    if not body:
        return body
    plain, members, position, rest = BytesIO(), 1, 0, b""
    whole, stream = memoryview(body), zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
    while rest or position < len(whole):
        if not rest:
            # In steps: what follows the end of a member is copied, and there may be thousands.
            rest, position = bytes(whole[position : position + _STEP_BYTES]), position + _STEP_BYTES
        if stream.eof:
            if name != "deflate" and rest[0] == 0 and not (rest.strip(b"\0") or bytes(whole[position:]).strip(b"\0")):
                break
            if name == "deflate" or rest[0] == 0:
                raise BadRequestError(f"the body is not {name}: something follows it")
            members += 1
            if members > _MOST_MEMBERS:
                raise TooLargeError(f"the body has more than {_MOST_MEMBERS:,} gzip members: compress it as one")
            stream = zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
        try:
            piece = stream.decompress(rest, _STEP_BYTES)
        except zlib.error as err:
            why = "is damaged, or something else" if members == 1 else "is damaged, or something follows it"
            raise BadRequestError(f"the body is not {name}: it {why}") from err
        holding.grow(len(piece))
        plain.write(piece)
        if plain.tell() > max_bytes:
            raise TooLargeError(
                f"the body is larger than {max_bytes:,} bytes after decompression: send smaller batches"
            )
        rest = stream.unused_data if stream.eof else stream.unconsumed_tail
    if not stream.eof:
        raise BadRequestError(f"the body is not {name}: it is cut short")
    return plain.getvalue()


def plain_body(request: Request, *, max_bytes: int) -> bytes:
    """Return the body of a request as it was before a `Content-Encoding`; raises as `decompress`.

    A byte order mark before JSON is gone; before binary tensors it is counted, and who cuts them apart drops it.
    """
    headers = request.head.headers
    encoding = headers.get("content-encoding")
    if encoding is None and len(request.body) <= max_bytes:
        body = request.body
    else:
        body = decompress(request.body, encoding=encoding or "", max_bytes=max_bytes, holding=request.holding)
    return body if _HEADER_LENGTH in headers else without_mark(body)
