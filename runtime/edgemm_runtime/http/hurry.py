"""The hurry of an event loop: what may take long, or would wait, is left to a thread that nobody else waits for.

here.hurried = True  # requests of others wait until this thread is done
if here.hurried and pixels > FEW: raise TakesLongError("…")  # caught by whoever said that
here.hurried = False
"""

from __future__ import annotations

import threading

from edgemm.errors import UnavailableError


class TakesLongError(UnavailableError):
    """A thread in a hurry would wait, or take long."""


class _Here(threading.local):
    """What holds for a thread."""

    hurried = False


here = _Here()
