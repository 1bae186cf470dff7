"""The request parameter `timeout` of the Open Inference Protocol v2: the time that a client waits. Pure.

It is a number of microseconds; 0 is none. Source: Triton's "schedule policy" extension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from edgemm.errors import BadRequestError, RequestError
from edgemm_runtime.http import json_faults
from edgemm_runtime.http.bodies import plain_body
from edgemm_runtime.http.exchange import Request
from edgemm_runtime.tensors import pieces

_WORD = b'"timeout"'
_HEADER_LENGTH = "inference-header-content-length"
_US_PER_S = 1e6
_LARGEST_US = 2**64 - 1


class _Header(Struct, frozen=True):
    parameters: dict[str, Any] = {}


def timeout_s(parameters: Mapping[str, Any]) -> float | None:
    """Return the timeout of a request in seconds, None where there is none.

    Raises:
        BadRequestError: it is no number of microseconds.
    """
    found = parameters.get("timeout", 0)
    if type(found) is not int or not 0 <= found <= _LARGEST_US:
        raise BadRequestError(
            f"parameter 'timeout': expected whole microseconds, 0 for none, found {json_faults.spelled(found)}"
        )
    return found / _US_PER_S if found else None


def is_read_quickly(request: Request, *, quick_bytes: int) -> bool:
    """Tell whether `read_timeout_s` takes no time to speak of."""
    headers = request.head.headers
    if "content-encoding" in headers:
        return False
    return _head_bytes(request) <= quick_bytes


def read_timeout_s(request: Request, *, max_bytes: int) -> float | None:
    """Return the timeout of a request for inference in seconds; None where it has none, or is malformed anyway."""
    before = request.holding.held_bytes
    try:
        body = plain_body(request, max_bytes=max_bytes)
        length = request.header(_HEADER_LENGTH)
        head = body[: int(length)] if length.isascii() and length.isdigit() else body
        pieces.check_length(len(head))
        # Most requests have none, and are not parsed here.
        return timeout_s(msgspec.json.decode(head, type=_Header).parameters) if _WORD in head else None
    except (RequestError, msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return None
    finally:
        request.holding.shrink(request.holding.held_bytes - before)  # it is decompressed again where it is answered


def _head_bytes(request: Request) -> int:
    length = request.header(_HEADER_LENGTH)
    size = len(request.body)
    return min(int(length), size) if length.isascii() and length.isdigit() and len(length) < 20 else size
