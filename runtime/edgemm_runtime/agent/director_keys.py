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
_LONGEST_PAUSE_S = 600.0


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
        self._after_s, self._pause_s = -math.inf, _PAUSE_S
        self._known: bytes | None = None
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
        document, self._document = self._document, None
        if document is not None:
            # The same again shows that nothing was replaced: whoever sends what it does not fit may go on for long.
            self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s) if document == self._known else _PAUSE_S
            self._known = document
        self._thread, self._after_s = None, self._monotonic() + self._pause_s
        return document

    def _run(self) -> None:
        try:
            self._document = self._director.director()
        except EdgemmError as err:
            _log.warning("director's keys not fetched error=%s", err)
        finally:
            self._fetched()
