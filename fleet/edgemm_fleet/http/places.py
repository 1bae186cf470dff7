"""The places for connections and downloads: how many each owner has, and whose is taken where there are too many. Pure.

The owner of a connection is its address, that of a download the token that it was asked for with.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

_IPV6_HOST_BITS = 64
_AT_ONCE = 32


class Holder(Protocol):
    """A connection that has a place."""

    address: str

    def turn(self, now_s: float) -> tuple[int, float] | None:
        """When it gives way, the least first; None for never."""


def address_of(host: str) -> str:
    """Return what counts as one address: of IPv6 the network of 64 bits, of which one client has all addresses."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host[:64]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, _IPV6_HOST_BITS), strict=False))
    return str(found)


class OwnerPlaces:
    """How many places each owner has."""

    def __init__(self, *, most: int, most_of_one: int) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._counts: Counter[str] = Counter()
        self._all = 0

    def __len__(self) -> int:
        return self._all

    def of(self, owner: str) -> int:
        """Return how many an owner has."""
        return self._counts[owner]

    def take(self, owner: str) -> None:
        """Count one more."""
        self._counts[owner] += 1
        self._all += 1

    def give_back(self, owner: str) -> None:
        """Count one less."""
        self._all -= 1
        self._counts[owner] -= 1
        if not self._counts[owner]:
            del self._counts[owner]

    def crowded_by(self, owner: str) -> str | None:
        """Return who has to give way to one more of an owner; None where there is a place for it."""
        if self._counts[owner] >= self._most_of_one:
            return owner
        if self._all < self._most:
            return None
        return max(self._counts, key=self._counts.__getitem__)


def giving_way(holders: Iterable[Holder], address: str, *, now_s: float) -> list[Holder]:
    """Return the connections of an address that are closed to make room, some at once: looking for them takes long."""
    found = [(turn, one) for one in holders if one.address == address and (turn := one.turn(now_s)) is not None]
    found.sort(key=lambda pair: pair[0])
    return [one for _, one in found[:_AT_ONCE]]
