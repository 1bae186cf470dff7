"""Waiting for what other threads and processes bring about, without guessing how long it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_POLL_S = 0.005


def eventually(condition: Callable[[], object], what: str, *, timeout_s: float = 60.0) -> None:
    """Return as soon as a condition holds.

    Raises:
        AssertionError: it did not within the time, which is generous: a test never passes because of it.
    """
    pause = threading.Event()
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"within {timeout_s:g} s this did not happen: {what}"
        pause.wait(_POLL_S)
