"""The judgement of a request by its size and kind, before it is read. Pure.

An event loop reads what is small: nobody else's request waits behind it for longer than a few milliseconds. What a
kilobyte becomes depends on what it is: as much again of JSON, a thousand times that of gzip. How large an image is, its
decoder finds (`hurry`).
"""

from __future__ import annotations

from edgemm_runtime.http.exchange import Request
from edgemm_runtime.preprocessing import image_kinds

_BYTES = 4 * 1024
"""CSV is read in some microseconds a cell, of two bytes or more."""
_JSON_BYTES = 32 * 1024
"""JSON is read in some 100 ns a byte at worst."""
_JSON_STARTS = (b"{", b"[")
_HEADER_LENGTH = "inference-header-content-length"
_MOST_DIGITS = 5


def is_small(request: Request, *, quick_bytes: int) -> bool:
    """Tell whether a request takes little time to read; `quick_bytes` is how long its body may be."""
    body, headers = request.body, request.head.headers
    size = len(body)
    if size > quick_bytes or "content-encoding" in headers:
        return False
    if size <= _BYTES:
        return True
    length = headers.get(_HEADER_LENGTH)
    if length is not None and request.head.path.startswith("/v2/"):
        # Tensors behind the JSON are read where they lie.
        return len(length) <= _MOST_DIGITS and length.isdecimal() and int(length) <= _JSON_BYTES
    kind = headers.get("content-type", "").lower()
    if body.startswith(_JSON_STARTS) and "csv" not in kind and "multipart" not in kind:
        return size <= _JSON_BYTES
    return image_kinds.kind_of(body) is not None and "multipart" not in kind
