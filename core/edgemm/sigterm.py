"""The wait for SIGTERM, by which a service manager ends a server in order.

    with ended_by_sigterm() as wait:
        serve()
        wait()

A pipe carries the signal. A handler that sets a `threading.Event` may meet the lock that the event's own `wait` holds
in the same thread, and the process would never end.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def ended_by_sigterm() -> Iterator[Callable[[], object]]:
    """Yield a function that returns once SIGTERM came, also before it was called; for the main thread.

    SIGINT raises `KeyboardInterrupt` out of it, as always.
    """
    heard, told = os.pipe()
    before = signal.signal(signal.SIGTERM, lambda *_: os.write(told, b"."))
    try:
        yield lambda: os.read(heard, 1)
    finally:
        signal.signal(signal.SIGTERM, before)
        os.close(heard)
        os.close(told)
