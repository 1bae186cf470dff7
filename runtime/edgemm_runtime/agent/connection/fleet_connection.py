"""HTTP to the fleet manager as a device speaks it: its bearer on every request, and errors that say when to try again.

    server = FleetConnection(url, tls_fingerprint=pin, connect_timeout_s=10, read_timeout_s=60, bearer=bearer)
    with server.open("GET", "/tuf/metadata/timestamp.json") as answer:
        answer.read(max_bytes=65536)

The client is that of operators too (`edgemm.transport.https`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from edgemm.errors import EnvironmentFailure, NotFoundError, PermissionDeniedError, UnreachableError
from edgemm.transport.https import CertificateError, HttpAnswer, PinnedClient, refusal
from edgemm.transport.patience import HttpPatience
from edgemm.transport.refusal import ErrorDetail

_MAX_ANSWER_BYTES = 1024 * 1024
_BUSY = frozenset({408, 425, 429})
"""Refusals that say nothing about the request: the same may work later."""


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
        slow_s: float = HttpPatience.slow_s,
        min_bytes_per_s: int = HttpPatience.min_bytes_per_s,
        document_s: float = HttpPatience.document_s,
    ) -> None:
        patience = HttpPatience(
            connect_timeout_s,
            read_timeout_s,
            slow_s=slow_s,
            min_bytes_per_s=min_bytes_per_s,
            document_s=document_s,
        )
        self._client = PinnedClient(url, tls_fingerprint=tls_fingerprint, patience=patience, bearer=bearer)

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return self._client.url

    def post(self, path: str, body: bytes) -> bytes:
        """Send JSON and return the JSON answer.

        Raises:
            UnreachableError: no answer, or a server error: the same may work later.
            PermissionDeniedError: 401 or 403.
            EnvironmentFailure: another refusal.
        """
        with self.open("POST", path, body=body, headers={"Content-Type": "application/json"}) as answer:
            return answer.read(max_bytes=_MAX_ANSWER_BYTES)

    def document_until_s(self) -> float:
        """Return until when, by the monotonic clock, documents that are asked for now have to be whole."""
        return self._client.document_until_s()

    def interrupt(self) -> None:
        """End all requests that are under way, within a second, and every later one."""
        self._client.interrupt()

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        blob: bool = False,
        until_s: float = math.inf,
    ) -> Iterator[HttpAnswer]:
        """Send a request and give its answer, whose body is still to be read; see `PinnedClient.open`.

        Raises:
            As `post`.
        """
        # Blobs are compared byte by byte with their digest, and resumed at an offset.
        sent = {**(headers or {}), "Accept-Encoding": "identity"}
        try:
            with self._client.open(method, path, body=body, headers=sent, blob=blob, until_s=until_s) as answer:
                if (refused := refusal(answer)) is not None:
                    raise _refused(f"{self.url}{path}", answer.status, refused)
                yield answer
        except CertificateError as err:
            # It may be the true server again by the next try: who is in between must not make a device give up.
            raise UnreachableError(str(err)) from err


def _refused(address: str, status: int, told: ErrorDetail) -> Exception:
    words = " ".join(part for part in (told.message, told.hint) if part)
    text = f"{address}: HTTP {status}{': ' + words[:500] if words else ''}"
    if status in {401, 403}:
        return PermissionDeniedError(text)
    if status == 404:
        return NotFoundError(text)
    if status in _BUSY or status >= 500:
        return UnreachableError(text)
    return EnvironmentFailure(text)
