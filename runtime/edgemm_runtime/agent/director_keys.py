"""The fetch of the director's keys and the fleet's addresses, in a thread of its own: the loop waits for no server.

fetch.begin()      # returns at once; `fetched` is called, in the thread, once there is a result
fetch.take()       # the documents, once
fetch.due()        # whether it is time to look, though nothing asks for it

The look that nothing asks for ends what a stolen key of the director can do, once that was replaced, and brings a new
address before the old one goes. Each device looks at times of its own.
"""

from __future__ import annotations

import logging
import math
import random
import threading
from collections.abc import Callable
from typing import Protocol

from edgemm.errors import EdgemmError
from edgemm_runtime.agent.state.documents import FleetDocuments

_log = logging.getLogger(__name__)
_PAUSE_S = 10.0
_LONGEST_PAUSE_S = 600.0
_SOON_S = 300.0
"""The first look after a start, and the next after one that failed, come within so long."""


class DocumentSource(Protocol):
    """Where the documents come from; `TrustedVersions` in a device."""

    def documents(self) -> FleetDocuments:
        """Return them; raises as `TrustedVersions.documents`."""


class KeyFetch:
    """One fetch at a time, and not more often than once in a while, whatever a broker sends.

    Used by one thread; `fetched` is called in another one.
    """

    def __init__(
        self,
        source: DocumentSource,
        *,
        fetched: Callable[[], None],
        monotonic: Callable[[], float],
        every_s: float = math.inf,
    ) -> None:
        self._source, self._fetched, self._monotonic, self._every_s = source, fetched, monotonic, every_s
        self._after_s, self._pause_s = -math.inf, _PAUSE_S
        self._known: FleetDocuments | None = None
        self._due_s = monotonic() + _spread(min(every_s, _SOON_S)) if every_s < math.inf else math.inf
        self._thread: threading.Thread | None = None
        self._documents: FleetDocuments | None = None

    @property
    def under_way(self) -> bool:
        """Whether a result is still to be taken."""
        return self._thread is not None

    def begin(self) -> bool:
        """Fetch, unless that was done a moment ago; tells whether a fetch is under way."""
        if self.under_way:
            return True
        if self._monotonic() < self._after_s and not self.due():
            return False
        thread = threading.Thread(target=self._run, name="edgemm-keys", daemon=True)
        try:
            thread.start()
        except RuntimeError as err:  # no thread to be had: the next message tries again
            _log.warning("director's keys not fetched error=%s", err)
            return False
        self._thread = thread
        return True

    def due(self) -> bool:
        """Tell whether the last look was so long ago that another one is due."""
        return self._monotonic() >= self._due_s

    def take(self) -> FleetDocuments | None:
        """Return the documents, which waits for the end of the fetch; None where they could not be had."""
        if self._thread is not None:
            self._thread.join()
        documents, self._documents = self._documents, None
        if documents is not None:
            # The same again shows that nothing was replaced: whoever sends what it does not fit may go on for long.
            self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s) if documents == self._known else _PAUSE_S
            self._known = documents
        now_s = self._monotonic()
        self._thread, self._after_s = None, now_s + self._pause_s
        if self._every_s < math.inf:
            self._due_s = now_s + _spread(self._every_s if documents else min(self._every_s, _SOON_S))
        return documents

    def _run(self) -> None:
        try:
            self._documents = self._source.documents()
        except EdgemmError as err:
            _log.warning("director's keys not fetched error=%s", err)
        finally:
            self._fetched()


def _spread(most_s: float) -> float:
    """Return a time in the latter half of a span: devices that start together do not look together."""
    return most_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load only
