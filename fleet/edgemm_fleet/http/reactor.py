"""The event loop: waits for sockets, and calls functions in its one thread."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

_log = logging.getLogger(__name__)
READABLE, WRITABLE = select.EPOLLIN, select.EPOLLOUT
GONE = select.EPOLLHUP | select.EPOLLERR
"""What epoll tells though nobody waits for it: the other side is gone."""
_SWEEP_S = 0.5
_EVENTS_AT_ONCE = 128
"""So many are handled before the loop looks again who else waits."""


class Reactor:
    """Handlers by descriptor; all are called in the loop's thread, which `call` may be used to get into."""

    def __init__(self, name: str, sweep: Callable[[float], None]) -> None:
        """Set up; `sweep` is called now and then with the monotonic time."""
        self._poll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._wake, READABLE)
        self._handlers: dict[int, Callable[[int], None]] = {self._wake: self._woken}
        self._calls: deque[Callable[[], None]] = deque()
        self._sweep = sweep
        self._ended = False
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def register(self, descriptor: int, handler: Callable[[int], None], events: int = READABLE) -> None:
        """Have a handler called with the events that came: of these, or that the other side is gone.

        They may be of a moment ago: what another handler did since may have changed what is waited for.

        Raises:
            OSError: it cannot be waited for.
        """
        self._poll.register(descriptor, events)
        self._handlers[descriptor] = handler

    def watch(self, descriptor: int, events: int) -> None:
        """Wait for other events of a descriptor."""
        self._poll.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Wait for nothing of a descriptor any more; before it is closed."""
        if self._handlers.pop(descriptor, None) is not None:
            with contextlib.suppress(OSError, ValueError):  # ValueError: the loop has ended
                self._poll.unregister(descriptor)

    def call(self, function: Callable[[], None]) -> None:
        """Have a function called in the loop's thread; from any thread."""
        self._calls.append(function)
        with self._closing:  # else its number might be another file's by now
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def end(self, timeout_s: float) -> None:
        """Leave the loop, and wait for its thread."""
        self._ended = True
        self.call(lambda: None)
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._poll.close()
            with self._closing:
                os.close(self._wake)
                self._wake = -1

    def _run(self) -> None:
        swept_s = time.monotonic()
        while not self._ended:
            for descriptor, events in self._poll.poll(_SWEEP_S, _EVENTS_AT_ONCE):
                if (handler := self._handlers.get(descriptor)) is not None:
                    self._guarded(partial(handler, events))
            now_s = time.monotonic()
            if now_s - swept_s >= _SWEEP_S:
                swept_s = now_s
                self._guarded(lambda: self._sweep(now_s))  # noqa: B023 - called at once

    def _woken(self, _events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        for _ in range(len(self._calls)):  # those that they make are for the next turn, after others
            self._guarded(self._calls.popleft())

    def _guarded(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception:  # noqa: BLE001 - the thread's boundary: a fault with one connection ends no other
            _log.exception("event_loop_failed")
