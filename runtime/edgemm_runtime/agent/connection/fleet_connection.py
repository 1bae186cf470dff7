"""HTTP to the fleet manager as a device speaks it: its bearer on every request, and errors that say when to try again.

    server = FleetConnection(url, tls_fingerprint=pin, connect_timeout_s=10, read_timeout_s=60, bearer=bearer)
    with server.open("GET", "/tuf/metadata/timestamp.json") as answer:
        answer.read(max_bytes=65536)

A fleet manager may have several addresses (`use`): where one cannot be reached, or has another certificate than the
one that is meant, the next is tried. The client is that of operators too (`edgemm.transport.https`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

from edgemm.errors import EnvironmentFailure, NotFoundError, PermissionDeniedError, UnreachableError
from edgemm.transport.https import CertificateError, HttpAnswer, PinnedClient, refusal
from edgemm.transport.patience import HttpPatience
from edgemm.transport.refusal import ErrorDetail

_MAX_ANSWER_BYTES = 1024 * 1024
_ENROL = "if it was removed from its fleet, enrol it anew with a new token: edgemm run --fleet URL --token-file FILE"
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
        self._patience, self._bearer = patience, bearer
        self._interrupted = False
        self._clients = {(url, tls_fingerprint): self._client(url, tls_fingerprint)}

    @property
    def url(self) -> str:
        """The base URL that is tried first, without a slash at its end."""
        return next(iter(self._clients.values())).url

    def use(self, places: Sequence[tuple[str, str | None]]) -> None:
        """Try these from now on in their order, each a URL and the SHA-256 of its certificate; none changes nothing."""
        if places:
            known = self._clients
            self._clients = {place: known.get(place) or self._client(*place) for place in places}
        if self._interrupted:
            self.interrupt()

    def _client(self, url: str, tls_fingerprint: str | None) -> PinnedClient:
        return PinnedClient(url, tls_fingerprint=tls_fingerprint, patience=self._patience, bearer=self._bearer)

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
        return next(iter(self._clients.values())).document_until_s()

    def interrupt(self) -> None:
        """End all requests that are under way, within a second, and every later one."""
        self._interrupted = True
        for client in list(self._clients.values()):
            client.interrupt()

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
        with ExitStack() as stack:
            url, answer = self._reach(
                stack, lambda client: client.open(method, path, body=body, headers=sent, blob=blob, until_s=until_s)
            )
            if (refused := refusal(answer)) is not None:
                raise _refused(f"{url}{path}", answer.status, refused)
            yield answer

    def _reach(
        self, stack: ExitStack, opened: Callable[[PinnedClient], AbstractContextManager[HttpAnswer]]
    ) -> tuple[str, HttpAnswer]:
        """Return the answer of the first server that gives one, and its URL; it is tried first from then on."""
        failures: list[str] = []
        for place, client in list(self._clients.items()):
            try:
                answer = stack.enter_context(opened(client))
            except (UnreachableError, CertificateError) as err:
                # It may be the true server again by the next try: who is in between must not make a device give up.
                failures.append(str(err))
                if self._interrupted:
                    break
                continue
            if failures:
                self._clients = {place: client, **self._clients}
            return client.url, answer
        raise UnreachableError("; ".join(dict.fromkeys(failures)))


def _refused(address: str, status: int, told: ErrorDetail) -> Exception:
    hint = _ENROL if status == 401 else told.hint  # the server's is for people
    words = "; ".join(part for part in (told.message, hint) if part)
    text = f"{address}: HTTP {status}{': ' + words[:500] if words else ''}"
    if status in {401, 403}:
        return PermissionDeniedError(text)
    if status == 404:
        return NotFoundError(text)
    if status in _BUSY or status >= 500:
        return UnreachableError(text)
    return EnvironmentFailure(text)
