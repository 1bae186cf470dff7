"""The account of what was shed, by device, and the decision whom the broker is to shut out for a while.

A device that goes on sending many times its share costs the broker and the manager CPU even if all of it is thrown
away. Where the manager rules the broker's logins, it is cut off: its connection ends, and it is let in again after a
time that doubles from flood to flood. No device that waits for acknowledgements comes near to that.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from msgspec import structs

from edgemm_fleet.quiet_log import QuietLog
from edgemm_fleet.records.shed import Shed

_log = logging.getLogger(__name__)
_MIB = 1024 * 1024


class Misdeed(Enum):
    """What a device did."""

    OVER_SHARE = "over_share"
    GARBAGE = "garbage"
    """It used a topic that no honest device uses."""
    REFUSED = "refused"
    """What it said could not be read, or was not its own; that much is told where it happens."""


@dataclass(frozen=True)
class CutRules:
    """When a device is cut off, and for how long."""

    span_s: float = 10.0
    """What happens within this time counts together."""

    shed_bytes: int = 8 * _MIB
    shed_messages: int = 10_000
    refusals: int = 500

    first_s: float = 10.0
    most_s: float = 300.0
    calm_s: float = 600.0
    """After so long without a cut the next one is a first one again."""


@dataclass(frozen=True)
class _Span:
    """What a device did in the present span."""

    begun: float
    shed_messages: int = 0
    shed_bytes: int = 0
    refusals: int = 0
    garbage: bool = False

    def is_too_much(self, rules: CutRules) -> bool:
        """Tell whether it is to be cut off for it."""
        return (
            self.garbage
            or self.shed_messages > rules.shed_messages
            or self.shed_bytes > rules.shed_bytes
            or self.refusals > rules.refusals
        )


@dataclass(frozen=True)
class Account:
    """What is known of one device."""

    shed: Shed
    span: _Span
    cuts: int = 0


class Shedding:
    """Who was shed and who is cut off, of the devices that it happened to last; safe to use from many threads."""

    def __init__(
        self, *, clock: Callable[[], float] = time.time, rules: CutRules | None = None, kept: int = 1000
    ) -> None:
        self._clock, self._rules, self._kept = clock, rules or CutRules(), kept
        self.cut: Callable[[], None] | None = None
        """Called when there is one more device to be cut off; None: nobody can be cut off."""
        self._lock = threading.Lock()
        self._accounts: OrderedDict[str, Account] = OrderedDict()
        self.messages, self.bytes = 0, 0
        """What was thrown away of all devices since the start."""
        self._quiet = QuietLog(_log, most_of_one=1)

    def note(self, device: str, misdeed: Misdeed, *, size: int = 0) -> None:
        """Note that a message of a device was thrown away."""
        now = self._clock()
        with self._lock:
            before = self._accounts.pop(device, None) or opened(device, now=now)
            account = noted(before, self._rules, misdeed, size=size, now=now, can_cut=self.cut is not None)
            self._accounts[device] = account
            if misdeed is not Misdeed.REFUSED:
                self.messages += 1
                self.bytes += size
            while len(self._accounts) > self._kept:
                self._accounts.popitem(last=False)
        shed = account.shed
        if misdeed is not Misdeed.REFUSED:
            text = "ingest_shed device=%s why=%s messages=%d bytes=%d: it sends what no honest device does"
            self._quiet.warning(device, text, device, misdeed.value, shed.messages, shed.bytes)
        if shed.cut_until != before.shed.cut_until and self.cut is not None:
            _log.warning("device_cut_off device=%s for_s=%.0f", device, (shed.cut_until or now) - now)
            self.cut()

    def of(self, device: str) -> Shed | None:
        """Return what was shed of a device, if anything was."""
        with self._lock:
            account = self._accounts.get(device)
        return None if account is None else account.shed

    def all(self) -> list[Shed]:
        """Return what was shed, the latest last."""
        with self._lock:
            return [account.shed for account in self._accounts.values()]

    def cut_off(self) -> frozenset[str]:
        """Return the devices that are cut off now."""
        now = self._clock()
        return frozenset(shed.device for shed in self.all() if is_cut(shed, self._rules, now=now))


def opened(device: str, *, now: float) -> Account:
    """Return the account of a device that did nothing yet."""
    return Account(Shed(device=device, first_at=now, last_at=now), _Span(now))


def noted(account: Account, rules: CutRules, misdeed: Misdeed, *, size: int, now: float, can_cut: bool) -> Account:
    """Return the account after one more message; a later `cut_until` cuts it off. Pure."""
    shed = structs.replace(account.shed, last_at=now)
    span = account.span if 0 <= now - account.span.begun < rules.span_s else _Span(now)
    if misdeed is Misdeed.REFUSED:
        shed = structs.replace(shed, refused=shed.refused + 1)
        span = replace(span, refusals=span.refusals + 1)
    else:
        shed = structs.replace(shed, messages=shed.messages + 1, bytes=shed.bytes + size)
        span = replace(
            span,
            shed_messages=span.shed_messages + 1,
            shed_bytes=span.shed_bytes + size,
            garbage=span.garbage or misdeed is Misdeed.GARBAGE,
        )
    if not (can_cut and span.is_too_much(rules)) or is_cut(shed, rules, now=now):
        return replace(account, shed=shed, span=span)
    calm = shed.cut_until is not None and now - shed.cut_until > rules.calm_s
    cuts = 1 if calm else account.cuts + 1
    until = now + min(rules.most_s, rules.first_s * 2.0 ** min(cuts - 1, 16))
    return Account(structs.replace(shed, cut_until=until), _Span(now), cuts)


def is_cut(shed: Shed, rules: CutRules, *, now: float) -> bool:
    """Tell whether it is shut out now; a clock that was set back by years does not shut it out for these."""
    return shed.cut_until is not None and 0 < shed.cut_until - now <= rules.most_s
