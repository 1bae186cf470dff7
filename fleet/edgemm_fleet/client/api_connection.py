"""The HTTP connection to one server: a pinned certificate, a bearer token, and errors that name the next step.

Plain `http://` is for loopback only. With a fingerprint, the server is known by its certificate and by nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec
import urllib3
from msgspec import Struct
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError
from urllib3.response import BaseHTTPResponse

from edgemm import __version__, errors
from edgemm.errors import EdgemmError, EnvironmentFailure, InputError, RequestError, TrustError
from edgemm_fleet.api.messages import ErrorAnswer

Answer = TypeVar("Answer")
_CONNECT_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 60.0
_CHUNK = 1 << 16
# A kept connection may have been closed by the server meanwhile: what can be repeated is tried once more.
_RETRIES = urllib3.Retry(total=1, connect=0, read=1, redirect=0, status=0, other=0)
_BY_STATUS: Mapping[int, type[EdgemmError]] = {
    400: errors.BadRequestError,
    401: errors.PermissionDeniedError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    413: errors.TooLargeError,
    503: errors.UnavailableError,
}


class ApiConnection:
    """Requests to one server, as the bearer of one token."""

    def __init__(self, url: str, *, token: str, tls_fingerprint: str | None) -> None:
        """Set up, without connecting.

        Raises:
            InputError: the URL is not `https://…`, nor `http://` with a loopback host.
        """
        self.url = url.rstrip("/")
        parts = _parts(self.url)
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": f"edgemm/{__version__}"}
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=_CONNECT_TIMEOUT_S, read=_READ_TIMEOUT_S),
            **_verification(parts.scheme, tls_fingerprint),
        )

    def call(
        self, method: str, path: str, answer: type[Answer], *, body: Struct | None = None, **query: str | int | None
    ) -> Answer:
        """Send one request and read its answer into a type.

        Raises:
            EnvironmentFailure: the server cannot be reached.
            TrustError: its certificate is not the pinned one.
            RequestError, TrustError: it refused; the message is the server's.
        """
        given = {name: value for name, value in query.items() if value is not None}
        address = f"{path}?{urlencode(given)}" if given else path
        encoded = None if body is None else msgspec.json.encode(body)
        response = self.send(method, address, body=encoded)
        try:
            data = response.read(decode_content=True)
        except HTTPError as err:
            raise EnvironmentFailure(f"{self.url}: the connection broke: {err}; try again") from err
        if response.status == 204:
            return msgspec.convert({}, answer)
        try:
            return msgspec.json.decode(data, type=answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as err:
            raise RequestError(f"{self.url}{path}: expected an answer of edgemm {__version__}: {err}") from err

    def send(
        self,
        method: str,
        address: str,
        *,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> BaseHTTPResponse:
        """Send one request and return the response with its body unread.

        Raises:
            EnvironmentFailure, RequestError, TrustError: as `call`.
        """
        repeatable = body is None or isinstance(body, bytes)
        try:
            response = self._pool.request(
                method,
                self.url + address,
                body=body,
                headers={**self._headers, **(headers or {})},
                preload_content=False,
                redirect=False,
                retries=_RETRIES if repeatable else False,
            )
        except HTTPError as err:
            raise self._unreachable(err) from err
        if response.status >= 400:
            raise _refused(response)
        return response

    def stream(self, address: str) -> Iterator[bytes]:
        """Yield the body of a GET in pieces.

        Raises:
            EnvironmentFailure, RequestError, TrustError: as `call`.
        """
        response = self.send("GET", address)
        try:
            yield from response.stream(_CHUNK)
        except HTTPError as err:
            raise EnvironmentFailure(f"{self.url}: the connection broke: {err}; try again") from err
        finally:
            response.release_conn()

    def close(self) -> None:
        """Close all connections."""
        self._pool.clear()

    def _unreachable(self, err: HTTPError) -> EdgemmError:
        cause = err.reason if isinstance(err, MaxRetryError) and err.reason else err
        if isinstance(cause, SSLError):
            if "ingerprint" in str(cause):
                return TrustError(
                    f"{self.url}: its certificate is not the one that the token pins; if the fleet was set up anew, "
                    "log in with a new token, else somebody is in between"
                )
            return TrustError(f"{self.url}: {cause}; give --fingerprint, or a token that carries it")
        reason = getattr(cause, "args", None) or (cause,)
        return EnvironmentFailure(
            f"cannot reach {self.url}: {_short(str(reason[-1]))}; is `edgemm fleet serve` running?"
        )


def _short(text: str) -> str:
    return text.rpartition("Errno ")[2].partition("] ")[2] or text.rpartition(": ")[2] or text


def _parts(url: str) -> Any:
    parts = urlsplit(url)
    local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    if parts.hostname is None or parts.scheme not in {"http", "https"}:
        raise InputError(f"fleet URL {url!r}: expected https://HOST:PORT")
    if parts.scheme == "http" and not local:
        raise InputError(f"fleet URL {url!r}: plain http:// is for loopback only; use https://")
    return parts


def _verification(scheme: str, fingerprint: str | None) -> dict[str, Any]:
    if scheme != "https" or fingerprint is None:
        return {}
    return {"assert_fingerprint": fingerprint, "cert_reqs": "CERT_NONE", "assert_hostname": False}


def _refused(response: BaseHTTPResponse) -> EdgemmError:
    data = response.read(64 * 1024, decode_content=True)
    response.release_conn()
    kind = _BY_STATUS.get(response.status, RequestError)
    try:
        detail = msgspec.json.decode(data, type=ErrorAnswer).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return kind(f"the server answered {response.status} {response.reason}; is this URL a fleet's?")
    text = f"{detail.message}; {detail.hint}" if response.status == 401 else detail.message
    return kind(text)
