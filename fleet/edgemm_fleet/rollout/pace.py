"""The pace of work in parts: each holds the database's one writer, and is as large as fits into a short time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LEAST, _MOST = 60, 500


class WorkPace:
    """How many devices the next part is for; found by how long those before took.

    Between `least`, as a machine that is busy with other things must not make all parts tiny, and `most`.
    """

    def __init__(
        self,
        *,
        least: int = _LEAST,
        most: int = _MOST,
        goal_s: float = 0.03,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock, self._goal_s = clock, goal_s
        self._least, self._most = least, most
        self.size = min(2 * least, most)

    @contextmanager
    def held(self, number: Callable[[], int] | int) -> Iterator[None]:
        """Time a part that is for so many devices."""
        start = self._clock()
        yield
        took_s = max(self._clock() - start, 1e-6)
        if not (done := number if isinstance(number, int) else number()):
            return
        fits = int(done * self._goal_s / took_s)
        # One that was slow by chance must not make the next ones tiny, nor one that was quick make one huge.
        self.size = max(self._least, min(self._most, max(self.size // 2, min(fits, self.size * 2))))
