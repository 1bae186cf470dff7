"""Whether an inference that has the machine to itself takes one CPU thread or several: what was quicker lately. Pure.

Several threads halve the time of many small models on an idle machine. They cost time where the operations are too
small to be shared out, and where other programs want the CPUs. Neither is known beforehand, so both ways are timed:
alternately at first, then the better one, and now and then the other a few times in a row.
"""

from __future__ import annotations

TRIALS = 16
"""How many inferences a new choice takes to be made."""
_PROBES, _ROUND = 4, 512
"""Rarely enough that the 99th percentile of all requests is the better way's."""
_WEIGHT, _PROBE_WEIGHT = 0.05, 0.25
_MOST_TIMES_USUAL = 4.0
_WORTH = 0.9
"""Several threads take more of the CPUs in all: a tenth of the time is to be had for that."""


class Width:
    """The choice for one model; times may be of inputs of different sizes, in seconds a byte or any other unit."""

    def __init__(self) -> None:
        self._usual = {False: 0.0, True: 0.0}
        self._asked = 0
        self._better = False

    def wide(self) -> bool:
        """Return whether the next inference is to take several threads."""
        self._asked += 1
        if self._asked <= TRIALS:
            return self._asked % 2 == 0
        return self._better != (self._asked % _ROUND < _PROBES)

    def tell(self, took: float, *, wide: bool) -> None:
        """Take note of how long an inference took; one that was interrupted for long counts as four usual ones."""
        usual = self._usual[wide]
        if not usual:
            self._usual[wide] = took
        elif self._asked <= TRIALS:
            self._usual[wide] = min(usual, took)  # the first are slow: memory is touched, threads are started
        else:
            weight = _WEIGHT if wide == self._better else _PROBE_WEIGHT
            self._usual[wide] += (min(took, _MOST_TIMES_USUAL * usual) - usual) * weight
        if self._asked >= TRIALS:
            self._better = self._usual[True] < _WORTH * self._usual[False]
