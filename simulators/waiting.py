"""Waiting for what other threads and processes bring about, without guessing how long it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_POLL_S = (0.005, 0.05)
"""The shortest pause between two looks, and the longest."""
_SHARE = 0.03
"""Pauses grow with the time that was waited, by this share: a look may be a request over TLS, and takes a core."""


def eventually(condition: Callable[[], object], what: str, *, timeout_s: float = 60.0) -> None:
    """Return as soon as a condition holds.

    Raises:
        AssertionError: it did not within the time, which is generous: a test never passes because of it.
    """
    pause, begun = threading.Event(), time.monotonic()
    while not condition():
        waited_s = time.monotonic() - begun
        assert waited_s < timeout_s, f"within {timeout_s:g} s this did not happen: {what}"
        pause.wait(min(max(_POLL_S[0], _SHARE * waited_s), _POLL_S[1]))
