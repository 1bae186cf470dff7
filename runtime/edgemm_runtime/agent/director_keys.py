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
from edgemm.transport.backoff import Backoff
from edgemm_runtime.agent.state.documents import FleetDocuments

_log = logging.getLogger(__name__)
_AT_ONCE = 3
"""So many looks that bring nothing new may follow upon each other."""
_FURTHER = Backoff(30.0, 600.0)
"""How long it takes until one more may, at first, and at most: from the third in a row on it doubles each time."""
_FAILED = Backoff(10.0, 300.0)
"""The pauses after looks that failed: whoever asks waits for the first, and what was asked for is asked again."""
_LOOK_EVERY_S = 1.0
_SOON_S = 300.0
"""The first look after a start, and the next after one that failed, come within so long."""


class DocumentSource(Protocol):
    """Where the documents come from; `TrustedVersions` in a device."""

    def documents(self) -> FleetDocuments:
        """Return them; raises as `TrustedVersions.documents`."""


class _Tokens:
    """What may be spent on looks: `_AT_ONCE` at first, and one more after each pause of `_FURTHER`.

    Once all are there again, the pauses begin anew. Times are arguments, in seconds.
    """

    def __init__(self) -> None:
        self._left, self._fruitless, self._as_of_s = float(_AT_ONCE), 0, -math.inf

    def spend(self, now_s: float) -> bool:
        """Take one; False where there is none."""
        passed_s, self._as_of_s = now_s - self._as_of_s, now_s
        self._left = min(_AT_ONCE, self._left + passed_s / _FURTHER.ceiling_s(max(1, self._fruitless - 1)))
        if self._left >= _AT_ONCE:
            self._fruitless = 0
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def note_same(self) -> None:
        """Note that one was spent on what was known."""
        self._fruitless += 1

    def note_new(self) -> None:
        """Put one back, for it brought something new, and let the pauses begin anew."""
        self.give_back()
        self._fruitless = 0

    def give_back(self) -> None:
        """Put one back, for nothing was had."""
        self._left = min(_AT_ONCE, self._left + 1.0)


class KeyFetch:
    """One fetch at a time, and few that bring nothing new, whatever a broker sends.

    One that brings something new costs nothing: keys may be replaced several times within a minute. What was asked for
    and could not be done, or failed, is `due` as soon as it may be.

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
        self._tokens, self._asked, self._failures = _Tokens(), False, 0
        self._after_s = self._again_s = -math.inf
        self._known: FleetDocuments | None = None
        self._due_s = monotonic() + _spread(min(every_s, _SOON_S)) if every_s < math.inf else math.inf
        self._thread: threading.Thread | None = None
        self._documents: FleetDocuments | None = None

    @property
    def under_way(self) -> bool:
        """Whether a result is still to be taken."""
        return self._thread is not None

    def begin(self) -> bool:
        """Fetch, unless too many were for nothing; tells whether a fetch is under way."""
        if self.under_way:
            return True
        overdue, now_s = self._overdue(), self._monotonic()
        self._asked = self._asked or not overdue
        if not overdue and (now_s < self._after_s or not self._tokens.spend(now_s)):
            self._again_s = max(self._again_s, now_s + _LOOK_EVERY_S)
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
        """Tell whether the last look was so long ago that another is due, or one that was asked for may be made."""
        return self._overdue() or (self._asked and not self.under_way and self._monotonic() >= self._again_s)

    def take(self) -> FleetDocuments | None:
        """Return the documents, which waits for the end of the fetch; None where they could not be had."""
        if self._thread is not None:
            self._thread.join()
        documents, self._documents = self._documents, None
        self._thread, now_s = None, self._monotonic()
        if documents is None:
            self._failures += 1
            self._after_s, self._again_s = now_s + _FAILED.ceiling_s(1), now_s + _FAILED.ceiling_s(self._failures)
            self._tokens.give_back()
        else:
            self._failures, self._asked = 0, False
            # The same again shows that nothing was replaced: whoever sends what it does not fit may go on for long.
            if documents == self._known:
                self._tokens.note_same()
            else:
                self._tokens.note_new()
            self._known = documents
        if self._every_s < math.inf:
            self._due_s = now_s + _spread(self._every_s if documents else min(self._every_s, _SOON_S))
        return documents

    def _overdue(self) -> bool:
        return self._monotonic() >= self._due_s

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
