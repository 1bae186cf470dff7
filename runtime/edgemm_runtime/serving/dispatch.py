"""The dispatcher of requests: a quick model answers on the spot, a slower one in a thread, Flask all others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar
from weakref import WeakSet

from edgemm.errors import EdgemmError
from edgemm_runtime.http.compression import compressed
from edgemm_runtime.http.deadlines import Deadlines, OnceAnswered
from edgemm_runtime.http.exchange import FAULT, Reply, Request, error_body, error_reply, identified
from edgemm_runtime.http.hurry import TakesLongError
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.http.loop import HANGING, Answer
from edgemm_runtime.http.workers import WorkerJob, WorkerPool
from edgemm_runtime.http.wsgi import WsgiApplication, call
from edgemm_runtime.serving.admission import Admission
from edgemm_runtime.serving.app import Endpoints
from edgemm_runtime.serving.protocols.decoded_size import is_small
from edgemm_runtime.serving.protocols.endpoints import Endpoint, answer, answer_quickly, answer_together
from edgemm_runtime.serving.protocols.v2.timeouts import is_read_quickly, read_timeout_s

Answered = TypeVar("Answered")
_log = logging.getLogger(__name__)
BUSY = error_body("too many requests wait: try again later", status=429, headers=(("Retry-After", "1"),))
_LATE = error_body("the request's own timeout has passed: it was not computed, or too late", status=504)


class Dispatcher:
    """The `Application` of the event loops."""

    def __init__(
        self,
        endpoints: Endpoints,
        application: WsgiApplication,
        workers: WorkerPool,
        limits: ServingLimits,
        *,
        admission: Admission,
    ) -> None:
        self._endpoints, self._application, self._workers, self._limits = endpoints, application, workers, limits
        self._admission = admission
        self.finished = admission.finished
        self._limit_s = 2 * limits.quick_s
        self._deadlines = Deadlines()
        self._large: WeakSet[Endpoint] = WeakSet()
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
        if (refusal := self._admission.refusal(request)) is not None:
            return identified(refusal, request)
        endpoint = self._quick_endpoint(request)
        if endpoint is None:
            # How this server is: told also where all threads are taken.
            return identified(self._answer(request), request) if self._admission.is_of_health(request.head) else None
        if request.head.headers.get("accept-encoding") is not None and endpoint in self._large:
            return None  # compressing takes longer than a quick model
        return guarded(partial(self._ask_quickly, endpoint, request), request)

    def _batch(self, requests: Sequence[Request]) -> list[Reply] | None:
        """Answer requests as one batch; None where one of them cannot be answered, or not so."""
        self._workers.asked_elsewhere = True
        endpoint = self._quick_endpoint(requests[0])
        if endpoint is None or endpoint in self._large or not all(self._may_join(r, endpoint) for r in requests):
            return None
        replies = guarded(partial(self._ask_together, endpoint, requests), requests[0])
        return replies if isinstance(replies, list) else None

    def _ask(self, endpoint: Endpoint, request: Request) -> Reply:
        return self._as_accepted(answer(endpoint, request), request, endpoint)

    def _ask_quickly(self, endpoint: Endpoint, request: Request) -> Reply | None:
        self._workers.asked_elsewhere = True
        reply = answer_quickly(endpoint, request, limit_s=self._limit_s)
        return None if reply is None else self._as_accepted(reply, request, endpoint)

    def _ask_together(self, endpoint: Endpoint, requests: Sequence[Request]) -> list[Reply] | None:
        try:
            replies = answer_together(endpoint, requests, limit_s=self._limit_s)
        except TakesLongError:
            return None
        if replies is None:
            return None
        return [self._as_accepted(reply, asked, endpoint) for reply, asked in zip(replies, requests, strict=True)]

    def _may_join(self, request: Request, endpoint: Endpoint) -> bool:
        return self._admission.refusal(request) is None and self._quick_endpoint(request) is endpoint

    def _quick_endpoint(self, request: Request) -> Endpoint | None:
        if request.head.method != "POST" or not is_small(request, quick_bytes=self._limits.quick_bytes):
            return None
        endpoint = self._endpoints.find(request.head.path)
        # A model that was never asked may be a slow one.
        return endpoint if endpoint is not None and 0.0 < endpoint.usual_s() <= self._limits.quick_s else None

    def _endpoint(self, request: Request) -> Endpoint | None:
        return self._endpoints.find(request.head.path) if request.head.method == "POST" else None

    def submit(self, request: Request, answer: Answer) -> Reply | None:
        """Have a request answered in a thread; see `Application`."""
        refusal = self._submit(request, lambda reply: answer(identified(reply, request)))
        return refusal if refusal is None else identified(refusal, request)

    def _submit(self, request: Request, done: Answer) -> Reply | None:
        endpoint = self._endpoint(request)
        lane = "" if endpoint is None else endpoint.model
        job = WorkerJob(lambda: done(self._answer(request)), lambda: done(HANGING), lane)
        if endpoint is not None and endpoint.timed:
            if not is_read_quickly(request, quick_bytes=self._limits.quick_bytes):
                since_s = time.monotonic()
                job = WorkerJob(lambda: done(self._answer_read_late(request, since_s)), job.given_up, lane)
            elif timeout_s := read_timeout_s(request, max_bytes=self._limits.max_body_bytes):
                return self._submit_timed(request, done, timeout_s, lane)
        return None if self._workers.submit(job) else BUSY

    def _submit_timed(self, request: Request, done: Answer, timeout_s: float, lane: str) -> Reply | None:
        # No longer than the server's own: a deadline of years is not waited for.
        at_s = time.monotonic() + min(timeout_s, self._limits.request_s)
        once = OnceAnswered(self._deadlines, at_s, done, late=_LATE)

        def work() -> None:
            if not once.answered:
                once.answer(self._answer(request))

        if self._workers.submit(WorkerJob(work, lambda: once.answer(HANGING), lane)):
            return None
        once.withdraw()
        return BUSY

    def _answer_read_late(self, request: Request, since_s: float) -> Reply:
        """Answer a request whose timeout is read only now: it took too long for the loop to read."""
        timeout_s = read_timeout_s(request, max_bytes=self._limits.max_body_bytes)
        if timeout_s is not None and time.monotonic() - since_s > timeout_s:
            return _LATE
        return self._answer(request)

    def _answer(self, request: Request) -> Reply:
        return guarded(partial(self._compute, request), request)

    def _compute(self, request: Request) -> Reply:
        endpoint = self._endpoint(request)
        if endpoint is not None:
            return self._ask(endpoint, request)
        reply = call(self._application, request, host=self.host, port=self.port)
        return self._as_accepted(reply, request, None)

    def _as_accepted(self, reply: Reply, request: Request, endpoint: Endpoint | None) -> Reply:
        """Return a reply compressed where that pays, and remember which endpoints have such replies."""
        accepted = request.head.headers.get("accept-encoding")
        if accepted is None:
            return reply
        found = compressed(reply, accepted, min_bytes=self._limits.compress_bytes)
        if endpoint is not None:
            if found is not reply:
                self._large.add(endpoint)
            elif endpoint in self._large:
                self._large.discard(endpoint)
        return found


def guarded(answering: Callable[[], Answered], request: Request) -> Answered | Reply:
    """Return an answer, or its error as one; never raises."""
    try:
        return answering()
    except EdgemmError as err:
        return error_reply(err, request_id=request.id)
    except Exception:  # noqa: BLE001 - the thread's boundary: whatever one request does, the client gets an answer
        _log.exception("request failed id=%s path=%s", request.id, request.head.path[:200])
        return identified(FAULT, request)
