"""The account of wrong tokens, by address and by token: only failures count. Pure: the clock is an argument.

Ten thousand devices behind one address are let in as ever, also while somebody behind it guesses: a right token always
passes, and one that was right before is not even doubted. What is refused beyond the budget is told 429, and read by
the one thread of the lane for doubtful tokens. A secret has 192 bits or more: guessing costs this server's time, and
finds nothing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class WrongTokenLimits:
    """How much of it is borne."""

    of_address: int = 30
    """Failures of one address at once."""

    per_s: float = 0.5
    """How many of them are forgotten in a second."""

    of_token: int = 3
    """Failures of one token, after which it is refused unread for `token_s`."""

    token_s: float = 60.0
    addresses: int = 4096
    """How many addresses are remembered; those that failed last."""

    tokens: int = 16_384
    """How many wrong tokens are remembered, and how many right ones."""


class _Failures(NamedTuple):
    """How many failures count, as of a time."""

    number: float
    at_s: float


class WrongTokens:
    """What is known of tokens, by their hashes, and of addresses; safe to use from many threads."""

    def __init__(self, limits: WrongTokenLimits | None = None) -> None:
        self._limits = limits or WrongTokenLimits()
        self._addresses: OrderedDict[str, _Failures] = OrderedDict()
        self._wrong: OrderedDict[str, _Failures] = OrderedDict()
        self._right: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, token: str, *, now_s: float) -> float:
        """Return for how long a token is refused unread: it has failed often of late; 0 where it is to be looked up."""
        with self._lock:
            failures = self._wrong.get(token)
            if failures is None or failures.number < self._limits.of_token:
                return 0.0
            left_s = failures.at_s + self._limits.token_s - now_s
            if left_s <= 0:
                del self._wrong[token]
            return max(0.0, left_s)

    def failed(self, address: str, token: str, *, now_s: float) -> float:
        """Note a wrong token; return for how long its address is over its budget, 0 where it is not."""
        limits = self._limits
        with self._lock:
            before = self._wrong.get(token, _Failures(0, now_s))
            _remember(self._wrong, token, _Failures(before.number + 1, now_s), most=limits.tokens)
            self._right.pop(token, None)
            count = self._count(address, now_s) + 1
            _remember(
                self._addresses, address, _Failures(min(count, 2 * limits.of_address), now_s), most=limits.addresses
            )
            return max(0.0, (count - limits.of_address) / limits.per_s)

    def passed(self, token: str) -> None:
        """Note that a token was right."""
        with self._lock:
            _remember(self._right, token, None, most=self._limits.tokens)

    def doubtful(self, address: str, token: str, *, now_s: float) -> bool:
        """Tell whether a token that was never seen to be right comes from an address that is over its budget."""
        with self._lock:
            if self._count(address, now_s) < self._limits.of_address:
                return False
            return token not in self._right

    def _count(self, address: str, now_s: float) -> float:
        failures = self._addresses.get(address)
        if failures is None:
            return 0.0
        return max(0.0, failures.number - (now_s - failures.at_s) * self._limits.per_s)


def _remember(
    table: OrderedDict[str, _Failures] | OrderedDict[str, None], key: str, value: object, *, most: int
) -> None:
    table[key] = value  # type: ignore[assignment]  # of the same table
    table.move_to_end(key)
    if len(table) > most:
        table.popitem(last=False)
