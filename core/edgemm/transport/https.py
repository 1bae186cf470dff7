"""The HTTPS client of devices and of operators: one server, its certificate pinned, redirects not followed.

    client = PinnedClient(url, tls_fingerprint=pin, patience=HttpPatience(connect_timeout_s=10, read_timeout_s=60))
    with client.open("GET", "/api/v1/health") as response:
        refusal(response) or response.read()

With a fingerprint the server is known by its certificate and by nothing else: names and dates do not matter. Without
one it must have a public certificate. Plain http goes to loopback only. What a refusal means is the caller's matter: a
device tries again later, a person reads what the server said. Needs urllib3 (the runtime or the fleet extra).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError
from urllib3.response import BaseHTTPResponse

from edgemm import __version__
from edgemm.errors import EnvironmentFailure, TrustError, UnreachableError
from edgemm.transport.address import check_url
from edgemm.transport.refusal import ErrorDetail, read_refusal

_PIECE_BYTES = 64 * 1024
_MAX_REFUSAL_BYTES = 64 * 1024


class CertificateError(TrustError):
    """A server's certificate is not the pinned one, or no authority that is known here vouches for it."""


@dataclass(frozen=True)
class HttpPatience:
    """How long a client waits, and whether it asks once more over a kept connection that the server has closed."""

    connect_timeout_s: float
    read_timeout_s: float
    repeat: bool = False


class PinnedClient:
    """Requests to one server; safe to use from many threads.

    Raises:
        InputError: the URL is not `https://…`, nor `http://` with a loopback host.
    """

    def __init__(
        self, url: str, *, tls_fingerprint: str | None, patience: HttpPatience, bearer: str | None = None
    ) -> None:
        self.url = check_url(url)
        self._headers = {"User-Agent": f"edgemm/{__version__}"}
        if bearer is not None:
            self._headers["Authorization"] = f"Bearer {bearer}"
        self._timeout = urllib3.Timeout(connect=patience.connect_timeout_s, read=patience.read_timeout_s)
        self._repeat = patience.repeat
        self._pinned = self.url.startswith("https:") and tls_fingerprint is not None
        if self._pinned:
            self._pool = urllib3.PoolManager(
                cert_reqs="CERT_NONE", assert_fingerprint=tls_fingerprint, assert_hostname=False
            )
        else:
            self._pool = urllib3.PoolManager()

    @contextmanager
    def open(
        self,
        method: str,
        address: str,
        *,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[BaseHTTPResponse]:
        """Send a request and give its response, whatever its status; the body is read before the context ends.

        Raises:
            UnreachableError: no answer, or it broke off: the same may work later.
            CertificateError: it is not the server that is meant.
        """
        try:
            response = self._send(method, address, body=body, headers=headers)
        except (HTTPError, OSError) as err:
            raise self._no_answer(err) from err
        try:
            yield response
        except HTTPError as err:
            raise UnreachableError(f"{self.url}: the connection broke: {err}; try again") from err
        finally:
            # A body that was not read to its end would be mistaken for the next answer.
            response.close()
            response.release_conn()

    def close(self) -> None:
        """Close all connections."""
        self._pool.clear()

    def _send(
        self, method: str, address: str, *, body: bytes | Iterable[bytes] | None, headers: Mapping[str, str] | None
    ) -> BaseHTTPResponse:
        repeat = self._repeat and (body is None or isinstance(body, bytes))
        return self._pool.request(
            method,
            self.url + address,
            body=body,
            headers={**self._headers, **(headers or {})},
            timeout=self._timeout,
            # A kept connection may have been closed by the server meanwhile: what can be repeated is tried once more.
            retries=urllib3.Retry(total=1, connect=0, read=1, redirect=0, status=0, other=0) if repeat else False,
            redirect=False,
            preload_content=False,
        )

    def _no_answer(self, err: Exception) -> UnreachableError | CertificateError:
        cause = err.reason if isinstance(err, MaxRetryError) and err.reason else err
        if not isinstance(cause, SSLError):
            return UnreachableError(f"cannot reach {self.url}: {_reason(cause)}; is `edgemm fleet serve` running?")
        if self._pinned and "ingerprint" in str(cause):
            return CertificateError(
                f"{self.url}: its certificate is not the one that the token pins; if the fleet was set up anew, use a "
                "new token, else somebody is in between"
            )
        return CertificateError(f"{self.url}: {cause}; give --fingerprint, or a token that carries it")


def refusal(response: BaseHTTPResponse) -> ErrorDetail | None:
    """Return why a request was refused; None where it was not."""
    if response.status < 300:
        return None
    return read_refusal(response.read(_MAX_REFUSAL_BYTES, decode_content=True))


def pieces(response: BaseHTTPResponse, *, max_bytes: int | None = None) -> Iterator[bytes]:
    """Yield a response's body in pieces.

    Raises:
        EnvironmentFailure: it is longer than `max_bytes`.
    """
    found = 0
    for piece in response.stream(_PIECE_BYTES):
        found += len(piece)
        if max_bytes is not None and found > max_bytes:
            raise EnvironmentFailure(f"an answer of more than {max_bytes:,} bytes: not of a fleet manager?")
        yield piece


def _reason(err: object) -> str:
    """Return the system's words for a failure, without those of the libraries around it."""
    cause = getattr(err, "__cause__", None) or err
    if words := getattr(cause, "strerror", None):
        return str(words)
    text = str((getattr(err, "args", None) or (err,))[-1])
    return text.rpartition("Errno ")[2].partition("] ")[2] or text.rpartition(": ")[2] or text
