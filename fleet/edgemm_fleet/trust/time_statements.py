"""Statements of time: a device that doubts its clock asks, and the key of the timestamp role signs the answer.

    statements = TimeStatements("home", signer, settled=clock.settled)
    statements.answer(question, asker="cam-1", address="192.0.2.7", now=now)

Nobody gets many: a device a few, an address and all together more, refilled as time passes (`Allowance`). While the
manager's own clock has just leapt nothing is stated, for whoever believed it would be led astray.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from securesystemslib.signer import CryptoSigner

from edgemm import times
from edgemm.errors import UnavailableError
from edgemm.trust.signing import PayloadType, seal
from edgemm.trust.time_statement import TimeQuestion, TimeStatement

_MAX_KEPT = 10_000
"""So many askers are remembered, the latest; who was forgotten begins with a full allowance."""


@dataclass(frozen=True)
class Allowance:
    """How many may be asked for at once, and how many more with each second."""

    at_once: float
    per_s: float


PER_DEVICE = Allowance(at_once=6, per_s=1 / 10)
PER_ADDRESS = Allowance(at_once=200, per_s=10)
"""A site's devices share an address, and ask together after a loss of power."""
IN_ALL = Allowance(at_once=1000, per_s=200)


class AllowanceTable:
    """What is left of an allowance to each asker; not safe to use from several threads at once."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def left(self, asker: str, now_s: float) -> float:
        """Return how many an asker may have now; `now_s` is monotonic."""
        left, as_of_s = self._left.get(asker, (self._allowance.at_once, now_s))
        return min(self._allowance.at_once, left + (now_s - as_of_s) * self._allowance.per_s)

    def take(self, asker: str, now_s: float) -> None:
        """Take one of what is left."""
        self._left[asker] = (self.left(asker, now_s) - 1, now_s)
        self._left.move_to_end(asker)
        if len(self._left) > _MAX_KEPT:
            self._left.popitem(last=False)


class TimeStatements:
    """Answers questions for the time; safe to use from many threads.

    `signer` returns the present key of the timestamp role; `settled` tells whether the manager's clock can be gone by.
    """

    def __init__(
        self,
        fleet: str,
        signer: Callable[[], CryptoSigner],
        *,
        settled: Callable[[], bool] = lambda: True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fleet, self._signer, self._settled, self._monotonic = fleet, signer, settled, monotonic
        self._lock = threading.Lock()
        self._tables = [AllowanceTable(allowance) for allowance in (PER_DEVICE, PER_ADDRESS, IN_ALL)]

    def answer(self, question: TimeQuestion, *, asker: str, address: str, now: float) -> bytes | None:
        """Return the signed statement in its envelope; None where somebody asks too often.

        Raises:
            UnavailableError: the manager's own clock has just leapt.
        """
        if not self._settled():
            raise UnavailableError("the clock of the fleet manager has just leapt: ask for the time again in a minute")
        with self._lock:
            now_s, askers = self._monotonic(), (asker, address, "")
            if any(table.left(name, now_s) < 1 for table, name in zip(self._tables, askers, strict=True)):
                return None
            for table, name in zip(self._tables, askers, strict=True):
                table.take(name, now_s)
        statement = TimeStatement(fleet=self._fleet, nonce=question.nonce, time=times.to_text(now))
        return seal(statement, PayloadType.TIME, self._signer())
