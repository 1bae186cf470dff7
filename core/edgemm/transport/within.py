"""A call that the system may hold up for longer than anybody waits: the look-up of a name, a handshake.

within(10.0, lambda: socket.create_connection(address), late=socket.socket.close, check=raise_if_over)
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
LOOK_S = 0.5
"""How often a wait looks whether it is to be ended."""


class _Call(Generic[T]):
    """One call in a thread of its own, and what came of it."""

    def __init__(
        self, act: Callable[[], T], late: Callable[[T], object], expected: tuple[type[Exception], ...]
    ) -> None:
        self._act, self._late, self._expected = act, late, expected
        self._lock = threading.Lock()
        self._given_up = False
        self.ended = threading.Event()
        self.results: list[T] = []
        self.failure: Exception | None = None

    def run(self) -> None:
        """Make the call; a result that nobody waits for any more is undone."""
        try:
            result = self._act()
            with self._lock:
                self.results.append(result)
                given_up = self._given_up
            if given_up:
                self._late(result)
        except self._expected as err:
            self.failure = err
        finally:
            self.ended.set()

    def give_up(self) -> None:
        """Note that nobody waits any more, and undo a result that came just now."""
        with self._lock:
            self._given_up = True
            came = list(self.results)
        for result in came:
            self._late(result)


def within(
    seconds: float,
    act: Callable[[], T],
    *,
    late: Callable[[T], object],
    check: Callable[[], object],
    expected: tuple[type[Exception], ...] = (OSError,),
) -> T:
    """Return what `act` returns, which is called in a thread that may go on after the time is up.

    `check` is called now and then, and ends the wait by raising. `late` undoes a result that came too late. The thread
    does not keep the process alive, and ends when the system lets it: a resolver gives up by itself.

    Raises:
        TimeoutError: it did not return in time.
        OSError: no thread can be started, or `act` raised something else than is `expected` of it.
        Exception: what `act` raises, of the kinds that are `expected`.
    """
    call = _Call(act, late, expected)
    try:
        threading.Thread(target=call.run, name="edgemm-within", daemon=True).start()
    except RuntimeError as err:
        raise OSError(errno.EAGAIN, "no thread can be started") from err
    until_s, ended = time.monotonic() + seconds, False
    try:
        while not (ended := call.ended.wait(min(LOOK_S, max(0.0, until_s - time.monotonic())))):
            check()
            if time.monotonic() >= until_s:
                raise TimeoutError(errno.ETIMEDOUT, "timed out")
    finally:
        if not ended:
            call.give_up()
    if not call.results:
        raise call.failure or OSError(errno.EIO, "failed for a reason that the log has")
    return call.results[0]
