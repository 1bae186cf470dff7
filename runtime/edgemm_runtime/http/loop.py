"""One event loop: reads requests of its connections, answers quick ones on the spot, hands the rest to threads.

Only one thread handles a request at a time: the one that takes its connection out of `_held` (atomic under the GIL)
answers it. That is normally the thread that put it there. Where that thread hangs in an engine, `give_up` takes the
connection, answers 504, and lets a new thread go on with all the others. The old thread ends itself if it comes back.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeAlias

from edgemm.errors import RequestError
from edgemm.transport.request_head import Head, Refusal
from edgemm_runtime.http.client import Connection, Phase
from edgemm_runtime.http.date import undated
from edgemm_runtime.http.exchange import Reply, Request, error_body, error_reply, identified
from edgemm_runtime.http.heads import encode_reply
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.http.receiver import Receiver
from edgemm_runtime.http.sweep import Ending, ending, expendable
from edgemm_runtime.memory.memory_budget import MemoryBudget

_log = logging.getLogger(__name__)
_SWEEP_S = 0.5
_PARTING_S = 0.2
"""For how long a server that stops takes a request on a connection that has none under way."""
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_SMALL = 16 * 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
Answer = Callable[[Reply], None]
_Asked: TypeAlias = tuple[Connection, Request]
HANGING = error_body("the model did not answer in time: it was given up", status=504)
_SLOW = error_body("the request did not come in time: send it faster", status=408)
_UNANSWERED = error_body("the request was not answered in time: try again later", status=504)


class _GivenUp(Exception):  # noqa: N818 - no error: another thread has this loop now
    """This thread hung in a request and has come back."""


class Application(Protocol):
    """What a loop asks for answers."""

    def together(self, request: Request) -> int:
        """Return how many requests for the path of this one `quick` may be given at once; never raises."""

    def quick(self, requests: Sequence[Request]) -> Sequence[Reply | None]:
        """Answer requests for one path at once, each with None where it takes longer; never raises."""

    def submit(self, request: Request, answer: Answer) -> Reply | None:
        """Have a request answered in another thread, which calls `answer` once; a `Reply` is a refusal."""

    def finished(self, reply: Reply, asked: Head | None) -> Reply:
        """Return an answer, also one of the loop's own, with the headers that all answers to such a request have."""


class EventLoop:
    """The connections of one thread."""

    def __init__(
        self,
        application: Application,
        limits: ServingLimits,
        budget: MemoryBudget,
        *,
        name: str,
        date: Callable[[], str] = undated,
    ) -> None:
        self._date = date
        self._application, self._limits, self._budget, self._name = application, limits, budget, name
        self._poll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._wake, _IN)
        self._connections: dict[int, Connection] = {}
        self._listeners: dict[int, Callable[[], None]] = {}
        self._asked: deque[_Asked] = deque()
        self._held: list[list[_Asked]] = []
        self._calls: deque[Callable[[], None]] = deque()
        self._on_sweep: Callable[[], None] = lambda: None
        self._on_beat: Callable[[float], None] = lambda _: None
        self._beat_every_s = self._next_beat_s = math.inf
        self._waited_s = self._waiting_since_s = 0.0
        self._leaving: dict[int, EventLoop] = {}
        self._swept_s = self.beat_s = time.monotonic()
        self._asked_s = 0.0
        self._keeps, self._draining, self._ended = True, False, False
        self._parting_s = math.inf
        self._statuses: dict[int, int] = {}
        self._thread = self._new_thread()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def thread(self) -> int | None:
        """The thread that this loop runs in now."""
        return self._thread.ident

    def statuses(self) -> dict[int, int]:
        """Return how many answers of each status were given."""
        return dict(self._statuses)

    def waited_s(self, now_s: float) -> float:
        """Return for how long in all there was nothing to do; from any thread."""
        since_s = self._waiting_since_s
        return self._waited_s + (max(0.0, now_s - since_s) if since_s else 0.0)

    def __len__(self) -> int:
        return len(self._connections)

    def on_sweep(self, function: Callable[[], None]) -> None:
        """Call a function now and then, in this loop's thread, and whenever a connection ends."""
        self._on_sweep = function

    def on_beat(self, function: Callable[[float], None], *, every_s: float) -> None:
        """Call a function with the monotonic time, in this loop's thread, so often while it is busy; before `start`."""
        self._on_beat, self._beat_every_s, self._next_beat_s = function, every_s, time.monotonic() + every_s

    def listen(self, listener: socket.socket, accept: Callable[[], None]) -> None:
        """Call `accept` when a client waits; before `start`."""
        self._listeners[listener.fileno()] = accept
        self._poll.register(listener.fileno(), _IN)

    def unlisten(self, listener: socket.socket) -> None:
        """Leave a listener to whoever closes it; in this loop's thread."""
        if self._listeners.pop(listener.fileno(), None) is not None:
            self._poll.unregister(listener.fileno())

    def hear(self, listener: socket.socket, *, on: bool) -> None:
        """Take clients, or leave them in the kernel's queue; in this loop's thread."""
        if listener.fileno() in self._listeners:
            self._poll.modify(listener.fileno(), _IN if on else 0)

    def adopt(self, sock: socket.socket) -> None:
        """Serve a new connection; may be called from any thread."""
        receiver = Receiver(
            max_header_bytes=self._limits.max_header_bytes,
            max_body_bytes=self._limits.max_body_bytes,
            budget=self._budget,
        )
        connection = Connection(sock, receiver, self._budget.holding(), now_s=time.monotonic())
        connection.hold_itself()
        self._connections[connection.descriptor] = connection
        try:
            self._poll.register(connection.descriptor, _IN)
        except OSError:
            del self._connections[connection.descriptor]
            raise

    def connections(self) -> list[Connection]:
        """Return the connections; from any thread."""
        return list(self._connections.values())

    def move(self, connection: Connection, to: EventLoop) -> None:
        """Have another loop serve a connection once it has nothing under way; in this loop's thread."""
        if self._connections.get(connection.descriptor) is not connection:
            return
        if to is self:
            self._leaving.pop(connection.descriptor, None)
        elif connection.phase is Phase.READING and connection.receiver.idle and not connection.pending():
            self._leaving.pop(connection.descriptor, None)
            self._poll.unregister(connection.descriptor)
            del self._connections[connection.descriptor]
            to._connections[connection.descriptor] = connection  # at once: closed with that loop, whatever comes
            to.call(partial(to._welcome, connection))
        else:
            self._leaving[connection.descriptor] = to

    def _welcome(self, connection: Connection) -> None:
        if self._connections.get(connection.descriptor) is connection:
            self._poll.register(connection.descriptor, connection.watched)

    def expendable(self, now_s: float) -> list[tuple[tuple[int, float], Connection]]:
        """Return the connections that may be closed to make room, each with its turn; from any thread."""
        turns = [
            (expendable(connection, now_s, self._limits), connection) for connection in list(self._connections.values())
        ]
        return [(turn, connection) for turn, connection in turns if turn is not None]

    def let_go(self, connection: Connection) -> None:
        """Close one of those, unless it is used again by now; in this loop's thread."""
        if expendable(connection, time.monotonic(), self._limits) is not None and (
            connection.phase is not Phase.READING or connection.quiet()
        ):
            self._close(connection)

    def call(self, function: Callable[[], None]) -> None:
        """Have a function called in this loop's thread; may be called from any thread."""
        self._calls.append(function)
        with contextlib.suppress(OSError):
            os.eventfd_write(self._wake, 1)

    def give_up(self, thread: int) -> bool:
        """Leave a thread that hangs in a request behind and go on in another; False where it is not at one."""
        if thread != self._thread.ident:
            return False
        try:
            held = self._held.pop()
        except IndexError:
            return False
        self._thread = self._new_thread()
        for connection, request in held:
            self.call(partial(self._refuse, connection, identified(HANGING, request)))
        self._thread.start()
        return True

    def keep_none(self) -> None:
        """Let each answer from now on be the last on its connection; from any thread."""
        self._keeps = False

    def drain(self) -> None:
        """Answer what was asked, or is in a moment, and end; from any thread."""
        self.keep_none()
        self.call(self._begin_draining)

    def end(self, timeout_s: float) -> None:
        """Close everything after at most `timeout_s` of draining."""
        self._thread.join(timeout_s)
        self._ended = True
        self.call(lambda: None)
        self._thread.join(1.0)
        for connection in list(self._connections.values()):
            self._close(connection)
        if not self._thread.is_alive():
            self._poll.close()
            os.close(self._wake)

    def _new_thread(self) -> threading.Thread:
        return threading.Thread(target=self._run, name=self._name, daemon=True)

    def _run(self) -> None:
        while not self._ended and not (self._draining and self._have_parted()):
            events = self._poll.poll(0) or ([] if self._asked else self._wait())
            for descriptor, _ in events:
                try:
                    self._ready(descriptor)
                except OSError:
                    self._drop(descriptor)
                except Exception:  # noqa: BLE001 - the thread's boundary: one connection's fault ends no other
                    _log.exception("a connection failed")
                    self._drop(descriptor)
            try:
                self._answer_asked()
            except _GivenUp:
                return
            self.beat_s = now_s = time.monotonic()
            if now_s >= self._next_beat_s:
                self._next_beat_s = now_s + self._beat_every_s
                self._on_beat(now_s)
            if now_s - self._swept_s >= _SWEEP_S:
                self._swept_s = now_s
                self._sweep(now_s)

    def _wait(self) -> list[tuple[int, int]]:
        """Wait for what comes next, for a moment awake: a client that was just answered may well ask again.

        A thread that sleeps is woken over an interrupt of another CPU, which takes as long as a small model.
        """
        until_s = self._asked_s + self._limits.awake_s
        self._waiting_since_s = now_s = time.monotonic()
        events: list[tuple[int, int]] = []
        while now_s < until_s and not events:
            os.sched_yield()
            events = self._poll.poll(0)
            now_s = time.monotonic()
        events = events or self._poll.poll(_PARTING_S if self._draining else _SWEEP_S)
        self._waited_s, self._waiting_since_s = self.waited_s(time.monotonic()), 0.0
        return events

    def _ready(self, descriptor: int) -> None:
        connection = self._connections.get(descriptor)
        if connection is None:
            self._not_a_connection(descriptor)
        elif connection.sending:
            self._flush(connection)
        elif connection.phase is Phase.READING:
            self._read(connection)
        elif connection.phase is Phase.LINGERING:
            if connection.read() == b"":
                self._close(connection)
        elif connection.phase is Phase.HANDSHAKE:
            self._watch(connection, connection.shake_hands() or _IN)
        elif not connection.watched:  # what is watched is answered in a moment: what it has sent ahead may wait
            self._close(connection)  # nothing was asked for, so this is the client's end

    def _not_a_connection(self, descriptor: int) -> None:
        if descriptor == self._wake:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            while self._calls:
                self._calls.popleft()()
        elif accept := self._listeners.get(descriptor):
            accept()

    def _read(self, connection: Connection) -> None:
        data = connection.read()
        if data is None:
            return
        if not data:
            self._close(connection)
            return
        if connection.receiver.idle:
            connection.since_s = self.beat_s
        self._receive(connection, data)
        while connection.phase is Phase.READING and connection.pending() and (more := connection.read()):
            self._receive(connection, more)

    def _receive(self, connection: Connection, data: bytes) -> None:
        receiver = connection.receiver
        try:
            request = receiver.receive(data)
        except Refusal as refusal:
            connection.asked = receiver.asked
            self._answer(connection, error_body(refusal.message, status=refusal.status), keep_alive=False)
            return
        except RequestError as err:
            connection.asked = receiver.asked
            self._answer(connection, error_reply(err), keep_alive=False)
            return
        if request is not None:
            connection.phase, connection.asked = Phase.ANSWERING, request.head
            connection.keep_alive = request.head.keep_alive
            self._asked.append((connection, request))
        elif receiver.waits_for_continue:
            receiver.waits_for_continue = False
            connection.send(_CONTINUE)

    def _answer_asked(self) -> None:
        """Answer what has been asked since the last look, requests for the same path together.

        What a client has sent ahead is for the next look, after what others have asked by then.
        """
        left = len(self._asked)
        while left > 0:
            group = self._next_group()
            left -= len(group)
            self._held.append(group)
            replies = self._application.quick([request for _, request in group])
            try:
                self._held.pop()
            except IndexError:
                raise _GivenUp from None  # another thread has answered
            for (connection, request), reply in zip(group, replies, strict=True):
                try:
                    self._dispatch(connection, request, reply)
                except OSError:
                    self._close(connection)
            self._asked_s = time.monotonic()

    def _next_group(self) -> list[_Asked]:
        group = [self._asked.popleft()]
        if self._asked:
            first = group[0][1]
            most = self._application.together(first)
            while self._asked and len(group) < most and self._asked[0][1].head.path == first.head.path:
                group.append(self._asked.popleft())
        return group

    def _dispatch(self, connection: Connection, request: Request, reply: Reply | None) -> None:
        if reply is not None:
            self._answer(connection, reply, keep_alive=connection.keep_alive)
            return
        connection.since_s = time.monotonic()
        if connection.watched:
            self._watch(connection, 0)
        since_s = connection.since_s

        def answer(reply: Reply) -> None:
            self.call(lambda: self._answer_late(connection, reply, since_s=since_s))

        refusal = self._application.submit(request, answer)
        if refusal is not None:
            self._answer(connection, refusal, keep_alive=connection.keep_alive)

    def _answer_late(self, connection: Connection, reply: Reply, *, since_s: float) -> None:
        """Answer what a thread has computed, unless it was answered meanwhile."""
        if connection.phase is Phase.ANSWERING and connection.since_s == since_s:
            try:
                self._answer(connection, reply, keep_alive=connection.keep_alive)
            except OSError:
                self._close(connection)

    def _answer(self, connection: Connection, reply: Reply, *, keep_alive: bool) -> None:
        if len(reply.body) > _SMALL:
            reply = self._hold(connection, reply)
        self._statuses[reply.status] = self._statuses.get(reply.status, 0) + 1
        connection.keep_alive = keep_alive = keep_alive and self._keeps
        if not keep_alive:
            connection.receiver.forget()
        asked = connection.asked
        reply = self._application.finished(reply, asked)
        connection.send(encode_reply(reply, keep_alive=keep_alive, asked=asked, date=self._date()))
        if connection.sending:
            if len(reply.body) > _SMALL:
                connection.holding.shrink(len(reply.body))  # of its two copies, one goes
            connection.phase = Phase.ANSWERING
            connection.since_s = connection.sending_s = time.monotonic()
            self._watch(connection, _OUT)
        else:
            if len(reply.body) > _SMALL:
                connection.hold_itself()
            self._answered(connection)

    def _hold(self, connection: Connection, reply: Reply) -> Reply:
        """Hold an answer until its client has taken it; return what is answered where there is no room for it."""
        try:
            connection.holding.grow(2 * len(reply.body))  # it is copied behind its head
        except RequestError as err:
            return error_reply(err, request_id=reply.request_id)
        return reply

    def _flush(self, connection: Connection) -> None:
        connection.flush()
        connection.since_s = self.beat_s
        if not connection.sending:
            connection.hold_itself()
            self._answered(connection)

    def _answered(self, connection: Connection) -> None:
        if not connection.keep_alive:
            connection.phase, connection.since_s = Phase.LINGERING, time.monotonic()
            connection.close_sending()
            self._watch(connection, _IN)
            return
        connection.phase, connection.asked = Phase.READING, None
        if connection.watched != _IN:
            self._watch(connection, _IN)
        if not connection.receiver.idle:
            connection.since_s = self.beat_s
            self._receive(connection, b"")
        elif self._leaving and (to := self._leaving.get(connection.descriptor)) is not None:
            self.move(connection, to)

    def _watch(self, connection: Connection, events: int) -> None:
        connection.watched = events
        self._poll.modify(connection.descriptor, events)

    def _sweep(self, now_s: float) -> None:
        self._on_sweep()
        for connection in list(self._connections.values()):
            match ending(connection, now_s, self._limits):
                case Ending.CLOSE:
                    self._close(connection)
                case Ending.SLOW:
                    self._refuse(connection, _SLOW)
                case Ending.UNANSWERED:
                    self._refuse(connection, _UNANSWERED)
                case None:
                    pass

    def _refuse(self, connection: Connection, reply: Reply) -> None:
        try:
            self._answer(connection, reply, keep_alive=False)
        except OSError:
            self._close(connection)

    def _begin_draining(self) -> None:
        self._draining, self._parting_s = True, time.monotonic() + _PARTING_S

    def _have_parted(self) -> bool:
        """Tell whether no connection is left; those with nothing under way are closed after `_PARTING_S`.

        To close one at once would take its next request from a client that asks without pause: it may be on its way.
        """
        if time.monotonic() >= self._parting_s:
            for connection in self.connections():
                asks = connection.phase is Phase.READING and not (connection.receiver.idle and connection.quiet())
                if connection.phase is not Phase.ANSWERING and not asks:
                    self._close(connection)
        return not self._connections

    def _drop(self, descriptor: int) -> None:
        connection = self._connections.get(descriptor)
        if connection is not None:
            self._close(connection)

    def _close(self, connection: Connection) -> None:
        if self._connections.pop(connection.descriptor, None) is connection:
            with contextlib.suppress(OSError, ValueError):
                self._poll.unregister(connection.descriptor)
            self._leaving.pop(connection.descriptor, None)
            connection.close()
            self._on_sweep()
