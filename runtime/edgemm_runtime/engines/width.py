"""The choice between one CPU thread and several for an inference that has the machine to itself.

It is the way that was quicker lately. Several threads halve the time of many small models on an idle machine. They cost
time where the operations are too small to be shared out, and where other programs want the CPUs. Neither is known
beforehand, so both ways are timed. At first one follows the other; then the better one is used, and now and then the
other a few times in a row. The first times of each row decide nothing, since threads that have just worked are still
awake.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

M = TypeVar("M")
TRIALS = 24
"""How many inferences a new choice takes to be made."""
_ROW, _SETTLE, _ROUND = 8, 3, 1024
"""A row in a round is rare enough that the 99th percentile of all requests is the better way's."""
_WEIGHT, _PROBE_WEIGHT = 0.05, 0.2
_MOST_TIMES_USUAL = 4.0
_WORTH = 0.9
"""Several threads take more of the CPUs in all: a tenth of the time is to be had for that."""


class Width:
    """The choice for one model; times may be of inputs of different sizes, in seconds a byte or any other unit."""

    def __init__(self) -> None:
        self._usual = {False: 0.0, True: 0.0}
        self._asked = self._in_a_row = 0
        self._last = self._better = False

    def wide(self) -> bool:
        """Return whether the next inference is to take several threads."""
        self._asked += 1
        trying, probing = self._asked <= TRIALS, self._asked % _ROUND < _ROW
        wide = self._asked > TRIALS // 2 if trying else self._better != probing
        self._in_a_row = self._in_a_row + 1 if wide == self._last else 1
        self._last = wide
        return wide

    def tell(self, took: float, *, wide: bool) -> None:
        """Take note of how long an inference took; one that was interrupted for long counts as four usual ones."""
        usual = self._usual[wide]
        if self._asked <= TRIALS:
            self._usual[wide] = min(usual or took, took)
        elif self._in_a_row > _SETTLE:
            weight = _WEIGHT if wide == self._better else _PROBE_WEIGHT
            self._usual[wide] += (min(took, _MOST_TIMES_USUAL * usual) - usual) * weight
        if self._asked >= TRIALS:
            self._better = self._usual[True] < _WORTH * self._usual[False]


class Wide(Generic[M]):
    """An interpreter of several threads beside those of one, and the choice between them.

    One inference at a time has the machine to itself, from `take` to `give`, whichever interpreter it takes.
    """

    def __init__(self, member: M) -> None:
        self.member = member
        self.choice = Width()
        self._changing = threading.Lock()
        self._thread: int | None = None
        self._is_wide = False

    def take(self) -> bool | None:
        """Return whether this thread's inference is to take `member`; None where another has the machine."""
        with self._changing:
            if self._thread is not None:
                return None
            self._thread, self._is_wide = threading.get_ident(), self.choice.wide()
            return self._is_wide

    def give(self, took: float | None) -> None:
        """Let others have the machine, unless this thread was given up; `took` is None where it failed."""
        with self._changing:
            if self._thread != threading.get_ident():
                return
            self._thread = None
            if took is not None:
                self.choice.tell(took, wide=self._is_wide)

    def give_up(self, thread: int) -> bool:
        """Let others have the machine that a thread has, and hangs; return whether it hangs in `member`."""
        with self._changing:
            if self._thread != thread:
                return False
            if not self._is_wide:
                self._thread = None
            return self._is_wide
