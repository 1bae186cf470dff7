"""The HTTPS client of devices and of operators: one server, its certificate pinned, redirects not followed.

    client = PinnedClient(url, tls_fingerprint=pin, patience=HttpPatience(connect_timeout_s=10, read_timeout_s=60))
    with client.open("GET", "/api/v1/health") as answer:
        refusal(answer) or answer.read(max_bytes=1024)

With a fingerprint the server is known by its certificate and by nothing else: names and dates do not matter. Without
one it must have a public certificate. Plain http goes to loopback only. How long a request may take whatever the server
does is `edgemm.transport.patience`. What a refusal means is the caller's matter: a device tries again later, a person
reads what the server said. Needs urllib3 (the runtime or the fleet extra).
"""

from __future__ import annotations

import math
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError
from urllib3.response import BaseHTTPResponse

from edgemm import __version__
from edgemm.errors import EnvironmentFailure, TrustError, UnreachableError
from edgemm.transport.address import check_url
from edgemm.transport.patience import HttpPatience, Pace
from edgemm.transport.refusal import ErrorDetail, read_refusal
from edgemm.transport.timed import Attempt, carrying, timed_pools

_PIECE_BYTES = 64 * 1024
_MAX_REFUSAL_BYTES = 64 * 1024


class CertificateError(TrustError):
    """A server's certificate is not the pinned one, or no authority that is known here vouches for it."""


class HttpAnswer:
    """The head of an answer, whatever its status, and its body, which is still to be read."""

    def __init__(self, response: BaseHTTPResponse, pace: Pace) -> None:
        self._response, self._pace = response, pace
        self.status, self.reason, self.headers = response.status, response.reason or "", response.headers

    def pieces(self, *, max_bytes: int | None = None) -> Iterator[bytes]:
        """Yield the body as it arrives: waiting for whole pieces would lose what came before a cut.

        Raises:
            EnvironmentFailure: it is longer than `max_bytes`.
        """
        found = 0
        # Nobody is asked to compress (`Accept-Encoding: identity`), and what was unpacked could be of any size.
        while piece := self._response.read1(_PIECE_BYTES, decode_content=False):
            self._pace.moved(len(piece))
            found += len(piece)
            if max_bytes is not None and found > max_bytes:
                raise EnvironmentFailure(f"an answer of more than {max_bytes:,} bytes: not of a fleet manager?")
            yield piece

    def read(self, *, max_bytes: int) -> bytes:
        """Return the whole body; raises as `pieces`."""
        return b"".join(self.pieces(max_bytes=max_bytes))


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
        self._patience, self._interrupt = patience, threading.Event()
        self._pinned = self.url.startswith("https:") and tls_fingerprint is not None
        if self._pinned:
            self._pool = timed_pools(cert_reqs="CERT_NONE", assert_fingerprint=tls_fingerprint, assert_hostname=False)
        else:
            self._pool = timed_pools()

    @contextmanager
    def open(
        self,
        method: str,
        address: str,
        *,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        blob: bool = False,
        until_s: float = math.inf,
    ) -> Iterator[HttpAnswer]:
        """Send a request and give its answer, whatever its status; the body is read before the context ends.

        A `blob`, in the request or in the answer, may take as long as it moves; all else has to be whole in
        `document_s`, and by `until_s` of the monotonic clock.

        Raises:
            UnreachableError: no answer, or it broke off, or it came too slowly: the same may work later.
            CertificateError: it is not the server that is meant.
        """
        until_s = until_s if blob else min(until_s, self.document_until_s())
        attempt = Attempt(self._patience, self._interrupt, until_s=until_s)
        try:
            with carrying(attempt):
                response = self._send(method, address, body=body, headers=headers)
        except (HTTPError, OSError) as err:
            raise self._no_answer(err) from err
        except UnreachableError as err:
            raise UnreachableError(f"{self.url}: {err}") from err
        try:
            yield HttpAnswer(response, attempt.pace)
        except HTTPError as err:
            raise UnreachableError(f"{self.url}: the connection broke: {err}; try again") from err
        finally:
            # A body that was not read to its end would be mistaken for the next answer.
            response.close()
            response.release_conn()

    def document_until_s(self) -> float:
        """Return until when, by the monotonic clock, a document that is asked for now has to be whole."""
        return time.monotonic() + self._patience.document_s

    def interrupt(self) -> None:
        """End all requests that are under way, within a second, and every later one."""
        self._interrupt.set()

    def close(self) -> None:
        """Close all connections."""
        self._pool.clear()

    def _send(
        self, method: str, address: str, *, body: bytes | Iterable[bytes] | None, headers: Mapping[str, str] | None
    ) -> BaseHTTPResponse:
        repeat = self._patience.repeat and (body is None or isinstance(body, bytes))
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
                f"{self.url}: its certificate is not the one that the token pins; if it was renewed, log in again with "
                "--fingerprint, or use a new token, else somebody is in between"
            )
        if self._pinned:
            return UnreachableError(
                f"{self.url}: expected TLS 1.2 or later, the handshake failed ({_alert(cause)}); is it a fleet manager?"
            )
        return CertificateError(f"{self.url}: {cause}; give --fingerprint, or a token that carries it")


def refusal(answer: HttpAnswer) -> ErrorDetail | None:
    """Return why a request was refused; None where it was not."""
    if answer.status < 300:
        return None
    told = b""
    for piece in answer.pieces():
        told += piece
        if len(told) > _MAX_REFUSAL_BYTES:
            break
    return read_refusal(told[:_MAX_REFUSAL_BYTES])


def _alert(err: SSLError) -> str:
    """Return OpenSSL's name for what went wrong, in small letters."""
    inner = err.args[0] if err.args else err
    name = inner.reason if isinstance(inner, ssl.SSLError) else None
    return name.replace("_", " ").lower() if name else "the other side hung up"


def _reason(err: object) -> str:
    """Return the system's words for a failure, without those of the libraries around it."""
    cause = getattr(err, "__cause__", None) or err
    if words := getattr(cause, "strerror", None):
        return str(words)
    text = str((getattr(err, "args", None) or (err,))[-1])
    return text.rpartition("Errno ")[2].partition("] ")[2] or text.rpartition(": ")[2] or text
