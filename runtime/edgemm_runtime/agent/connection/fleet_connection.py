"""The HTTP client of the fleet manager: its certificate pinned, the device's bearer sent, redirects refused.

With a fingerprint the certificate is pinned and its names do not matter. Without one, an https server must have a
public certificate. Plain http goes to loopback only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, SSLError
from urllib3.util import Timeout

from edgemm.errors import EnvironmentFailure, InputError, NotFoundError, PermissionDeniedError, UnreachableError

_MAX_ANSWER_BYTES = 1024 * 1024
_MAX_ERROR_BYTES = 16 * 1024


class _ErrorBody(msgspec.Struct):
    code: str = ""
    message: str = ""
    hint: str = ""


class _ErrorAnswer(msgspec.Struct):
    error: _ErrorBody


class FleetConnection:
    """A fleet manager at `url`, as one device sees it.

    Raises:
        InputError: not a URL, or plain http to another machine.
    """

    def __init__(
        self,
        url: str,
        *,
        tls_fingerprint: str | None,
        connect_timeout_s: float,
        read_timeout_s: float,
        bearer: str | None = None,
    ) -> None:
        self.url = check_url(url)
        self._bearer = bearer
        self._timeout = Timeout(connect=connect_timeout_s, read=read_timeout_s)
        if self.url.startswith("https:") and tls_fingerprint is not None:
            self._pool = urllib3.PoolManager(
                cert_reqs="CERT_NONE", assert_fingerprint=tls_fingerprint, assert_hostname=False
            )
        else:
            self._pool = urllib3.PoolManager()

    def post(self, path: str, body: bytes) -> bytes:
        """Send JSON and return the JSON answer.

        Raises:
            UnreachableError: no answer, or a server error: the same may work later.
            PermissionDeniedError: 401 or 403.
            EnvironmentFailure: another refusal.
        """
        with self.open("POST", path, body=body, headers={"Content-Type": "application/json"}) as response:
            return b"".join(self._limited(response, _MAX_ANSWER_BYTES))

    @contextmanager
    def open(
        self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """Send a request and give its response, whose body is still to be read; raises as `post`."""
        sent = {**(headers or {}), "Accept-Encoding": "identity"}
        if self._bearer is not None:
            sent["Authorization"] = f"Bearer {self._bearer}"
        response = self._request(method, path, body=body, headers=sent)
        try:
            if response.status >= 300:
                raise self._refusal(response, path)
            yield response
        except HTTPError as err:
            raise self._no_answer(err) from err
        finally:
            # A body that was not read to its end would be mistaken for the next answer.
            response.close()
            response.release_conn()

    def _request(
        self, method: str, path: str, *, body: bytes | None, headers: Mapping[str, str]
    ) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool.request(
                method,
                f"{self.url}{path}",
                body=body,
                headers=headers,
                timeout=self._timeout,
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except (HTTPError, OSError) as err:
            raise self._no_answer(err) from err

    def _no_answer(self, err: Exception) -> UnreachableError:
        if isinstance(err, SSLError):
            return UnreachableError(
                f"{self.url}: its TLS certificate is not the one that the token pins ({err}); "
                "ask the operator for a new token if the certificate was changed"
            )
        return UnreachableError(f"{self.url}: no answer ({_reason(err)}): is `edgemm fleet serve` running there?")

    def _refusal(self, response: urllib3.BaseHTTPResponse, path: str) -> Exception:
        try:
            told = msgspec.json.decode(b"".join(self._limited(response, _MAX_ERROR_BYTES)), type=_ErrorAnswer).error
            words = " ".join(part for part in (told.message, told.hint) if part)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, EnvironmentFailure):
            words = ""
        text = f"{self.url}{path}: HTTP {response.status}{': ' + words[:500] if words else ''}"
        if response.status in {401, 403}:
            return PermissionDeniedError(text)
        if response.status == 404:
            return NotFoundError(text)
        if response.status in {408, 425, 429} or response.status >= 500:
            return UnreachableError(text)
        return EnvironmentFailure(text)

    def _limited(self, response: urllib3.BaseHTTPResponse, limit: int) -> Iterator[bytes]:
        found = 0
        for piece in response.stream(64 * 1024):
            found += len(piece)
            if found > limit:
                raise EnvironmentFailure(f"{self.url}: an answer of more than {limit:,} bytes: not a fleet manager?")
            yield piece


def check_url(url: str) -> str:
    """Return the base URL of a fleet manager without a slash at its end.

    Raises:
        InputError: it is none, or plain http to another machine.
    """
    try:
        parts = urlsplit(url)
        host, port_ok = parts.hostname or "", parts.port is None or parts.port > 0
    except ValueError as err:
        raise InputError(f"fleet URL {url!r}: {err}") from err
    if parts.scheme not in {"http", "https"} or not host or not port_ok or parts.query or parts.fragment:
        raise InputError(f"fleet URL {url!r}: expected https://HOST[:PORT], as `edgemm fleet token create` prints it")
    if parts.scheme == "http" and not is_loopback(host):
        raise InputError(f"fleet URL {url!r}: plain http is for loopback only; use the https URL of the fleet manager")
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(err: Exception) -> str:
    cause = getattr(err, "reason", None) or err.__cause__ or err
    return str(getattr(cause, "strerror", None) or type(cause).__name__)
