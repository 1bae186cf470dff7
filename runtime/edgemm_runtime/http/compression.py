"""The compression of answers for clients that accept it (RFC 9110, section 12.5.3). Pure.

Small answers are never compressed: that costs more than sending them. `Inference-Header-Content-Length` goes on
counting the bytes as they are before compression, which is what Triton's clients expect.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from types import MappingProxyType

from msgspec.structs import replace

from edgemm_runtime.http.exchange import Reply

_WBITS: Mapping[str, int] = MappingProxyType({"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS})
_LEVEL = 1  # of numbers, more effort saves next to nothing
_LONGEST_HEADER = 512
_VARY = ("Vary", "Accept-Encoding")


def choose_encoding(accepted: str) -> str | None:
    """Return which of gzip and deflate a client likes best, by its `Accept-Encoding`; None for neither."""
    weights: dict[str, float] = {}
    for part in accepted[:_LONGEST_HEADER].lower().split(","):
        name, _, parameters = part.partition(";")
        weights[name.strip()] = _weight(parameters)
    anything = weights.get("*", 0.0)
    liked = {name: weights.get(name, anything) for name in _WBITS}
    best = max(liked, key=lambda name: liked[name])
    plain = weights.get("identity", 0.0)
    return best if liked[best] > 0.0 and liked[best] >= plain else None


def compressed(reply: Reply, accepted: str, *, min_bytes: int) -> Reply:
    """Return a reply compressed, where it has at least `min_bytes`, the client accepts it, and it gets smaller."""
    if len(reply.body) < min_bytes or any(name.lower() == "content-encoding" for name, _ in reply.headers):
        return reply
    encoding = choose_encoding(accepted)
    if encoding is not None:
        compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WBITS[encoding])
        body = compressor.compress(reply.body) + compressor.flush()
        if len(body) < len(reply.body):
            return replace(reply, body=body, headers=(*reply.headers, ("Content-Encoding", encoding), _VARY))
    return replace(reply, headers=(*reply.headers, _VARY))


def _weight(parameters: str) -> float:
    """Return the `q` of one encoding; 0, not accepted, where it is no number."""
    name, equals, value = parameters.strip().partition("=")
    if not equals or name.strip() != "q":
        return 1.0
    try:
        found = float(value)
    except ValueError:
        return 0.0
    return found if 0.0 <= found <= 1.0 else 0.0
