"""Who answers a request: a quick model's endpoint on the spot, a slower one's in a thread, Flask all the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from hmac import compare_digest
from typing import TypeVar

from edgemm.errors import EdgemmError
from edgemm_runtime.serving.endpoints import Endpoint, Endpoints, answer, answer_together
from edgemm_runtime.serving.exchange import Reply, Request, error_body
from edgemm_runtime.serving.limits import ServingLimits
from edgemm_runtime.serving.replies import error_reply
from edgemm_runtime.serving.transport.loop import HANGING, Answer
from edgemm_runtime.serving.transport.workers import Job, WorkerPool
from edgemm_runtime.serving.transport.wsgi import WsgiApplication, call

Answered = TypeVar("Answered")
_log = logging.getLogger(__name__)
_OPEN = ("/v2/health/", "/healthz")
_BUSY = error_body("too many requests wait: try again later", status=429, headers=(("Retry-After", "1"),))
_FAULT = error_body("the server failed; its log says why", status=500)
_KEYLESS = error_body(
    "expected the API key in the header Authorization (Bearer KEY) or X-API-Key",
    status=401,
    headers=(("WWW-Authenticate", "Bearer"),),
)


class Dispatcher:
    """The `Application` of the event loops; with `api_key`, only health is answered without it."""

    def __init__(
        self,
        endpoints: Endpoints,
        application: WsgiApplication,
        workers: WorkerPool,
        limits: ServingLimits,
        *,
        api_key: str | None = None,
    ) -> None:
        self._endpoints, self._application, self._workers, self._limits = endpoints, application, workers, limits
        self._api_key = api_key.encode() if api_key else None
        self.host, self.port = "localhost", 0

    def together(self, request: Request) -> int:
        """Return how many requests like this one may be answered at once; see `Application`."""
        endpoint = self._quick_endpoint(request)
        return self._limits.max_together if endpoint is not None and endpoint.together() else 1

    def quick(self, requests: Sequence[Request]) -> Sequence[Reply | None]:
        """Answer at once what is quick; see `Application`."""
        if len(requests) > 1 and (replies := self._batch(requests)) is not None:
            return replies
        return [self._quick(request) for request in requests]

    def _quick(self, request: Request) -> Reply | None:
        if not self._may(request):
            return _KEYLESS
        endpoint = self._quick_endpoint(request)
        return None if endpoint is None else _guarded(partial(answer, endpoint, request), request)

    def _batch(self, requests: Sequence[Request]) -> list[Reply] | None:
        """Answer requests as one batch; None where one of them cannot be answered, or not so."""
        endpoint = self._quick_endpoint(requests[0])
        if endpoint is None or not all(self._may(r) and self._quick_endpoint(r) is endpoint for r in requests):
            return None
        replies = _guarded(partial(answer_together, endpoint, requests), requests[0])
        return replies if isinstance(replies, list) else None

    def _quick_endpoint(self, request: Request) -> Endpoint | None:
        if request.head.method != "POST" or len(request.body) > self._limits.quick_bytes:
            return None
        endpoint = self._endpoints.find(request.head.path)
        # A model that was never asked may be a slow one.
        return endpoint if endpoint is not None and 0.0 < endpoint.usual_s() <= self._limits.quick_s else None

    def submit(self, request: Request, done: Answer) -> Reply | None:
        """Have a request answered in a thread; see `Application`."""
        job = Job(lambda: done(_guarded(partial(self._answer, request), request)), lambda: done(HANGING))
        return None if self._workers.submit(job) else _BUSY

    def _answer(self, request: Request) -> Reply:
        endpoint = self._endpoints.find(request.head.path) if request.head.method == "POST" else None
        if endpoint is not None:
            return answer(endpoint, request)
        return call(self._application, request, host=self.host, port=self.port)

    def _may(self, request: Request) -> bool:
        if self._api_key is None or request.head.path.startswith(_OPEN):
            return True
        shown = request.header("x-api-key") or request.header("authorization").removeprefix("Bearer ")
        return compare_digest(shown.encode("utf-8", "replace"), self._api_key)


def _guarded(answering: Callable[[], Answered], request: Request) -> Answered | Reply:
    """Return an answer, or its error as one; never raises."""
    try:
        return answering()
    except EdgemmError as err:
        return error_reply(err)
    except Exception:  # noqa: BLE001 - the thread's boundary: whatever one request does, the client gets an answer
        _log.exception("request failed path=%s", request.head.path[:200])
        return _FAULT
