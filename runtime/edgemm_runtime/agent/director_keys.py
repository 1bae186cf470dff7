"""The fetch of the director's keys, in a thread of its own: the agent's loop never waits for a server.

fetch.begin()      # returns at once; `fetched` is called, in the thread, once there is a result
fetch.take()       # the document, once
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import Protocol

from edgemm.errors import EdgemmError

_log = logging.getLogger(__name__)
_PAUSE_S = 10.0


class DirectorSource(Protocol):
    """Where the director's document comes from; `TrustedVersions` in a device."""

    def director(self) -> bytes:
        """Return the document; raises as `TrustedVersions.director`."""


class KeyFetch:
    """One fetch at a time, and not more often than once in a while, whatever a broker sends.

    Used by one thread; `fetched` is called in another one.
    """

    def __init__(
        self, director: DirectorSource, *, fetched: Callable[[], None], monotonic: Callable[[], float]
    ) -> None:
        self._director, self._fetched, self._monotonic = director, fetched, monotonic
        self._after_s = -math.inf
        self._thread: threading.Thread | None = None
        self._document: bytes | None = None

    @property
    def under_way(self) -> bool:
        """Whether a result is still to be taken."""
        return self._thread is not None

    def begin(self) -> bool:
        """Fetch, unless that was done a moment ago; tells whether a fetch is under way."""
        if self.under_way:
            return True
        if self._monotonic() < self._after_s:
            return False
        thread = threading.Thread(target=self._run, name="edgemm-keys", daemon=True)
        try:
            thread.start()
        except RuntimeError as err:  # no thread to be had: the next message tries again
            _log.warning("director's keys not fetched error=%s", err)
            return False
        self._thread = thread
        return True

    def take(self) -> bytes | None:
        """Return the document, which waits for the end of the fetch; None where it could not be had."""
        if self._thread is not None:
            self._thread.join()
        self._thread, self._after_s = None, self._monotonic() + _PAUSE_S
        document, self._document = self._document, None
        return document

    def _run(self) -> None:
        try:
            self._document = self._director.director()
        except EdgemmError as err:
            _log.warning("director's keys not fetched error=%s", err)
        finally:
            self._fetched()
