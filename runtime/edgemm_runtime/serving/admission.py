"""The admission of requests: who is answered, before anything of the request is read. Pure.

* With an API key, only paths without one are answered to those who do not show it.
* A web page in a browser of the same network can send requests here, and its visitor does not notice: whatever is no
  GET, HEAD or OPTIONS and bears the `Origin` of a page that is neither ours nor allowed is refused, in whatever form
  its body is.
* A page of an allowed origin is answered as anybody, with the headers by which its browser lets it read the answer.
  Its browser asks before it sends JSON or a key, and shows no key with that question.

Sources: the Fetch standard, "CORS protocol"; Private Network Access, a draft of the WICG.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from msgspec.structs import replace

from edgemm.transport.request_head import Head
from edgemm_runtime.http.exchange import Reply, Request, error_body
from edgemm_runtime.serving import web_origins
from edgemm_runtime.serving.access import Access, ApiKey

_READING = {"GET", "HEAD", "OPTIONS"}
_METHODS = "GET, HEAD, POST, OPTIONS"
_KEYLESS = error_body(
    "expected the API key in the header Authorization (Bearer KEY) or X-API-Key",
    status=401,
    headers=(("WWW-Authenticate", "Bearer"),),
)
_NO_PAGES = error_body("requests of web pages (with the header Origin) are not taken here", status=403)
_ANY_PATH = Reply(200, b"", "text/plain", (("Allow", _METHODS),))
_LONGEST_LIST = 1024
_TOKENS = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~\-, \t]*")
_PREFLIGHT_VARY = (
    "Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network"
)
_REMEMBERED_S = "600"
_READABLE = "Allow, Content-Encoding, Date, Inference-Header-Content-Length, Retry-After, X-Request-Id"
"""Headers of answers that a page may read, beside those that every page may."""


class Admission:
    """Of one listener: `keyless` are its paths without a key; without `pages`, no web page may ask at all."""

    def __init__(self, access: Access, *, keyless: Collection[str], pages: bool = True) -> None:
        self._api_key = access.api_key
        self._origins = frozenset(access.origins) if pages else frozenset()
        self._keyless, self._pages = keyless, pages
        self._proven = access.api_key is not None or access.tls is not None

    def refusal(self, request: Request) -> Reply | None:
        """Return what answers a request that goes no further: it may not, or all is said; None for all others."""
        head = request.head
        origin = head.headers.get("origin")
        if origin is not None and (reply := self._of_a_page(origin, head)) is not None:
            return reply
        if head.path == "*":
            return _ANY_PATH
        return None if self._api_key is None else self._without_key(request, self._api_key)

    def is_of_health(self, head: Head) -> bool:
        """Tell whether a request reads one of the paths without a key: how this server is."""
        return head.method in _READING and head.path in self._keyless

    def finished(self, reply: Reply, asked: Head | None) -> Reply:
        """Return an answer with what a browser asks for, where pages of other origins may ask at all."""
        if not self._origins:
            return reply
        origin = asked.headers.get("origin") if asked is not None else None
        headers = [(name, value) for name, value in reply.headers if name != "Vary"]
        vary = [value for name, value in reply.headers if name == "Vary"]
        headers.append(("Vary", ", ".join([*vary, "Origin"])))
        if origin is not None and origin in self._origins:
            headers.append(("Access-Control-Allow-Origin", origin))
            headers.append(("Access-Control-Expose-Headers", _READABLE))
        return replace(reply, headers=tuple(headers))

    def _of_a_page(self, origin: str, head: Head) -> Reply | None:
        if not self._pages:
            return _NO_PAGES
        if origin in self._origins:
            is_preflight = head.method == "OPTIONS" and "access-control-request-method" in head.headers
            return _preflight(head) if is_preflight else None
        if head.method in _READING or web_origins.is_own(origin, head.headers.get("host", ""), proven=self._proven):
            return None
        page = web_origins.canonical(origin)
        if page is None:
            return error_body("requests of web pages without an address (Origin: null) are not taken", status=403)
        return error_body(
            f"requests of web pages from {page} are not taken: if it is yours, start edgemm run with --cors {page}",
            status=403,
        )

    def _without_key(self, request: Request, api_key: ApiKey) -> Reply | None:
        if request.head.path in self._keyless:
            return None
        shown = request.header("x-api-key") or _bearer(request.header("authorization"))
        return None if api_key.matches(shown) else _KEYLESS


def _preflight(head: Head) -> Reply:
    """Return what a browser is told that asks what a page may send."""
    wanted = head.headers.get("access-control-request-headers", "")[:_LONGEST_LIST]
    headers = [
        ("Access-Control-Allow-Methods", _METHODS),
        ("Access-Control-Max-Age", _REMEMBERED_S),
        ("Vary", _PREFLIGHT_VARY),
    ]
    if wanted and _TOKENS.fullmatch(wanted):
        headers.append(("Access-Control-Allow-Headers", wanted))
    if head.headers.get("access-control-request-private-network", "").lower() == "true":
        headers.append(("Access-Control-Allow-Private-Network", "true"))
    return Reply(204, headers=tuple(headers))


def _bearer(authorization: str) -> str:
    """Return the key; the name of the scheme may be spelled in any case (RFC 9110, section 11.1)."""
    scheme, _, key = authorization.partition(" ")
    return key.lstrip(" ") if scheme.lower() == "bearer" else authorization
