"""The wait for SIGTERM, by which a service manager ends a server in order.

    with ended_by_sigterm() as wait:
        serve()
        wait()

A pipe carries the signal. A handler that sets a `threading.Event` may meet the lock that the event's own `wait` holds
in the same thread, and the process would never end. The interpreter itself writes into the pipe, whichever thread the
signal met: a handler in Python would run in the main thread, once that has come back from the read that it waits in.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def ended_by_sigterm() -> Iterator[Callable[[], object]]:
    """Yield a function that returns once SIGTERM came, also before it was called; for the main thread.

    SIGINT raises `KeyboardInterrupt` out of it, as always, and the handlers of other signals run while it waits.
    """
    heard, told = os.pipe()
    os.set_blocking(told, False)
    ended: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    woken = signal.set_wakeup_fd(told, warn_on_full_buffer=False)

    def wait() -> None:
        while not ended and os.read(heard, 1)[0] != signal.SIGTERM:
            pass

    try:
        yield wait
    finally:
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGTERM, before)
        os.close(heard)
        os.close(told)
