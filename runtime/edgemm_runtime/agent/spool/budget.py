"""The write budget of the spool: decides which messages are written, which wait, and which are dropped. Pure.

    budget = WriteBudget.full(32 * MIB)                   # or as it was kept, `at` the time that it is now
    decided = plan(budget.left_bytes, waiting, rules=rules, price=price)
    budget = budget.charged(written_bytes)

The last eighth of the budget is for bytes that are paid when they are written to SQLite's log, and written once more
when the log is folded into its file. Events of updates go before windows of telemetry, which leave them a quarter of
what may be written at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgemm.messages import Stream
from edgemm_runtime.write_budget import WriteBudget

_ANYTHING = WriteBudget.full(2**60, now_s=0)


@dataclass(frozen=True, kw_only=True)
class SpoolRules:
    """When messages that wait in memory are due on the disk; by default each at once."""

    hold_s: float = 0.0
    """A window of telemetry is written when it has waited for so long; an acknowledged one never is."""

    batch_bytes: int = 64 * 1024
    """So much that waits is written however short it waited."""

    batch_removals: int = 256
    """So many messages on the disk that are no longer wanted are removed however short that is known."""

    memory_bytes: int = 1024 * 1024
    """Where the budget is used up, so much waits in memory; beyond it the oldest windows are dropped, then events."""


AT_ONCE = SpoolRules()


@dataclass(frozen=True)
class Price:
    """The most that a commit costs: so much itself, each page of a body, each message more, each removal."""

    commit: int
    page: int
    message: int
    removal: int
    page_bytes: int

    def of(self, body_bytes: int) -> int:
        """Return the most that one message adds."""
        return self.message + self.page * -(-body_bytes // self.page_bytes)


@dataclass(frozen=True)
class Waiting:
    """A message in memory."""

    stream: Stream
    size: int
    since_s: float


@dataclass(frozen=True)
class Memory:
    """What waits at `now_s`: messages, oldest first, and messages on the disk to be removed, the first since then."""

    now_s: float
    messages: Sequence[Waiting]
    removals: int = 0
    removals_since_s: float = 0.0


@dataclass(frozen=True)
class WritePlan:
    """Indexes of the messages to write, how many to remove from the disk, and the most that it costs."""

    write: tuple[int, ...] = ()
    removals: int = 0
    most_bytes: int = 0

    @property
    def writes(self) -> bool:
        """Whether a commit is to be made."""
        return bool(self.write) or self.removals > 0


def plan(budget: WriteBudget | None, memory: Memory, *, rules: SpoolRules, price: Price) -> WritePlan:
    """Decide; without a budget everything that is due is written."""
    if not _is_due(memory, rules):
        return WritePlan()
    if budget is None:
        budget = _ANYTHING
    events, cost = _affordable(memory, Stream.EVENT, budget.left_bytes - price.commit, budget, price)
    spare = budget.left_bytes - budget.reserve_bytes - price.commit - cost
    # What nobody needs any more goes before windows come, or the file would outgrow its cap.
    removals = min(memory.removals, int(max(0.0, spare) // price.removal))
    if removals < memory.removals and spare < budget.patience_bytes - price.commit:
        removals = 0
    windows, more = _affordable(memory, Stream.TELEMETRY, spare - removals * price.removal, budget, price)
    if not events and not windows and not removals:
        return WritePlan()
    most = price.commit + cost + more + removals * price.removal
    return WritePlan(tuple(sorted([*events, *windows])), removals, most)


def _affordable(
    memory: Memory, stream: Stream, left: float, budget: WriteBudget, price: Price
) -> tuple[list[int], int]:
    """Return the oldest messages of a stream that fit into what is left, and what they cost."""
    found, cost = list[int](), 0
    for index, message in enumerate(memory.messages):
        if message.stream is stream:
            if cost + price.of(message.size) > left:
                return (found, cost) if left >= budget.patience_bytes - price.commit else ([], 0)
            cost += price.of(message.size)
            found.append(index)
    return found, cost


def excess(messages: Sequence[Waiting], *, rules: SpoolRules) -> frozenset[int]:
    """Return indexes of what could not be written and does not fit into memory: windows, oldest first, then events."""
    size, drop = sum(message.size for message in messages), set[int]()
    for stream in (Stream.TELEMETRY, Stream.EVENT):
        for index, message in enumerate(messages):
            if size <= rules.memory_bytes:
                return frozenset(drop)
            if message.stream is stream:
                size -= message.size
                drop.add(index)
    return frozenset(drop)


def _is_due(memory: Memory, rules: SpoolRules) -> bool:
    messages = memory.messages
    return (
        any(m.stream is Stream.EVENT or memory.now_s - m.since_s >= rules.hold_s for m in messages)
        or sum(m.size for m in messages) >= min(rules.batch_bytes, rules.memory_bytes)
        or memory.removals >= rules.batch_removals
        or (memory.removals > 0 and memory.now_s - memory.removals_since_s >= rules.hold_s)
    )
