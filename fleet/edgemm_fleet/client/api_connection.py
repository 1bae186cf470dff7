"""The fleet manager's API as a person's program calls it: typed answers, and errors that say what to do.

Plain `http://` is for loopback only. With a fingerprint, the server is known by its certificate and by nothing else.
The client is that of devices too (`edgemm.transport.https`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from edgemm import __version__, errors, times
from edgemm.errors import EdgemmError, EnvironmentFailure, RequestError
from edgemm.transport.https import HttpAnswer, PinnedClient, refusal
from edgemm.transport.patience import HttpPatience
from edgemm.transport.refusal import NOT_OURS, ErrorDetail

AnswerT = TypeVar("AnswerT")
_SAME_S = 2.0
"""Times that differ by less are the same: a `Date` has whole seconds, and an answer takes its time."""
_CLOCKS_APART_S = 300.0
_UNKNOWN_ADDRESS = frozenset({404, 405})
_PATIENCE = HttpPatience(connect_timeout_s=10.0, read_timeout_s=60.0, repeat=True)
"""Of who wants something done."""
LITTLE_PATIENCE = HttpPatience(connect_timeout_s=5.0, read_timeout_s=10.0, repeat=True, slow_s=10.0, document_s=15.0)
"""Of who asks how the manager is: silence is an answer."""
_MAX_ANSWER_BYTES = 64 * 1024 * 1024
_BY_STATUS: Mapping[int, type[EdgemmError]] = {
    400: errors.BadRequestError,
    401: errors.PermissionDeniedError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    413: errors.TooLargeError,
    429: errors.UnavailableError,
    503: errors.UnavailableError,
}


class ApiConnection:
    """Requests to one server, as the bearer of one token.

    Raises:
        InputError: the URL is not `https://…`, nor `http://` with a loopback host.
    """

    def __init__(
        self, url: str, *, token: str, tls_fingerprint: str | None, patience: HttpPatience | None = None
    ) -> None:
        self._client = PinnedClient(url, tls_fingerprint=tls_fingerprint, patience=patience or _PATIENCE, bearer=token)
        self._ahead_s = 0.0

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return self._client.url

    def now(self) -> float:
        """Return the time at the server by its last answer; this machine's where that is the same to the second."""
        return time.time() + self._ahead_s

    def check_clocks(self) -> None:
        """Refuse to go on where this machine and the server are in other times: what is signed would end too early.

        Raises:
            EnvironmentFailure: they differ by more than five minutes.
        """
        here, there = time.time(), self.now()
        if abs(there - here) > _CLOCKS_APART_S:
            raise EnvironmentFailure(
                f"the clock of this machine shows {times.to_text(here)}, that of {self.url} {times.to_text(there)}: "
                "set the wrong one (timedatectl set-ntp true), for what is signed with a wrong time ends too early"
            )

    def call(
        self, method: str, path: str, answer: type[AnswerT], *, body: Struct | None = None, **query: str | float | None
    ) -> AnswerT:
        """Send one request and read its answer into a type.

        Raises:
            UnreachableError: the server cannot be reached.
            TrustError: its certificate is not the pinned one.
            RequestError, TrustError: it refused; the message is the server's.
        """
        given = {name: value for name, value in query.items() if value is not None}
        address = f"{path}?{urlencode(given)}" if given else path
        encoded = None if body is None else msgspec.json.encode(body)
        with self._open(method, address, body=encoded) as response:
            data = response.read(max_bytes=_MAX_ANSWER_BYTES)
        if response.status == 204:
            return msgspec.convert({}, answer)
        try:
            return msgspec.json.decode(data, type=answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as err:
            raise RequestError(f"{self.url}{path}: expected an answer of edgemm {__version__}: {err}") from err

    def send(self, method: str, address: str, *, body: Iterable[bytes], headers: Mapping[str, str]) -> None:
        """Send a body piece by piece, where only success is answered; raises as `call`."""
        with self._open(method, address, body=body, headers=headers, blob=True) as response:
            response.read(max_bytes=_MAX_ANSWER_BYTES)

    def stream(self, address: str) -> Iterator[bytes]:
        """Yield the body of a GET in pieces; raises as `call`."""
        with self._open("GET", address) as response:
            yield from response.pieces()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    @contextmanager
    def _open(
        self,
        method: str,
        address: str,
        *,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        blob: bool = False,
    ) -> Iterator[HttpAnswer]:
        with self._client.open(method, address, body=body, headers=headers, blob=blob) as response:
            self._compare_clocks(response)
            if (refused := refusal(response)) is not None:
                raise _refused(response, refused, asked=f"{method} {address.partition('?')[0]}")
            yield response

    def _compare_clocks(self, response: HttpAnswer) -> None:
        try:
            told = parsedate_to_datetime(response.headers.get("Date", "")).timestamp()
        except (TypeError, ValueError, OverflowError):
            return
        ahead_s = told - time.time()
        self._ahead_s = ahead_s if abs(ahead_s) > _SAME_S else 0.0


def _refused(response: HttpAnswer, told: ErrorDetail, *, asked: str) -> EdgemmError:
    kind = _BY_STATUS.get(response.status, RequestError)
    if response.status in _UNKNOWN_ADDRESS and (told is NOT_OURS or told.hint.startswith("GET /api/v1/openapi.json")):
        # A manager that has the address answers by the name of what it misses.
        return kind(
            f"the server does not know `{asked}` ({response.status}): it is no fleet manager, or an earlier one than "
            f"edgemm {__version__}: upgrade it"
        )
    if told is NOT_OURS:
        return kind(f"the server answered {response.status} {response.reason}; is this URL a fleet's?")
    return kind(f"{told.message}; {told.hint}" if response.status == 401 else told.message)
