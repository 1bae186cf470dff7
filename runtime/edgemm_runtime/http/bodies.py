"""The decompression of request bodies, never beyond a limit. Pure."""

from __future__ import annotations

import zlib

from edgemm.errors import BadRequestError, TooLargeError
from edgemm_runtime.http.exchange import Request

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_IDENTITY = {"", "identity"}
_COMPRESSED = {"gzip", "deflate"}


def decompress(body: bytes, *, encoding: str, max_bytes: int) -> bytes:
    """Return the body behind a `Content-Encoding` of none, gzip or deflate.

    Raises:
        TooLargeError: it is larger than `max_bytes` after decompression, which stops there.
        BadRequestError: another encoding, or damaged data.
    """
    name = encoding.strip().lower()
    if name in _IDENTITY:
        return body
    if name not in _COMPRESSED:
        raise BadRequestError(f"Content-Encoding: expected gzip or deflate, found {name[:40]!r}")
    stream = zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
    try:
        plain = stream.decompress(body, max_bytes + 1)
    except zlib.error as err:
        raise BadRequestError(f"the body is not {name}: {err}") from err
    if len(plain) > max_bytes:
        raise TooLargeError(f"the body is larger than {max_bytes:,} bytes after decompression: send smaller batches")
    if not stream.eof or stream.unused_data:
        raise BadRequestError(f"the body is not {name}: cut short, or something follows it")
    return plain


def plain_body(request: Request, *, max_bytes: int) -> bytes:
    """Return the body of a request as it was before a `Content-Encoding`; raises as `decompress`."""
    encoding = request.head.headers.get("content-encoding")
    if encoding is None and len(request.body) <= max_bytes:
        return request.body
    return decompress(request.body, encoding=encoding or "", max_bytes=max_bytes)
