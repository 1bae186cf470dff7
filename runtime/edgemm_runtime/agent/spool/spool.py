"""The spool: events and telemetry that the fleet has not acknowledged as stored; bounded, durable, in order.

Events are on the disk when `add` returns. Windows of telemetry wait in memory until they are due, and are sent from
there. A window that is acknowledged by then is never written; one that is not is written with others, in one commit. A
loss of power costs what waits in memory, and nothing else. Writes stay within a budget (`budget`).

Three things drop a message. An acknowledgement does. Beyond the cap, the oldest messages are dropped and counted.
Messages that nobody can read any more are dropped and counted too: storage or another version has damaged their rows.

A full disk costs the new message, which is counted, and nothing else. A message with a source is not lost, since the
source tells it again. Every message has (boot, stream, sequence from 1), and a boot id is never used again. Messages of
earlier boots are sent before those of this one.
"""

from __future__ import annotations

import heapq
import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from edgemm.messages import SpoolGauges, Stream, StreamAck
from edgemm_runtime.agent.spool.budget import Memory, SpoolRules, Waiting, WritePlan, excess, plan
from edgemm_runtime.agent.spool.settings import SpoolSettings
from edgemm_runtime.agent.spool.spool_database import Key, SpoolDatabase, SpoolRow
from edgemm_runtime.write_budget import WriteBudget

_log = logging.getLogger(__name__)
_OVERHEAD_BYTES = 64
"""What a row costs besides its body, roughly."""
_RETRY_S = 60.0


@dataclass(frozen=True)
class Spooled:
    """One message that waits; `floor` is the lowest sequence of its boot and stream that is still held.

    `stored`: it was read back from storage, which may have changed it.
    """

    id: int
    boot: str
    boot_count: int
    stream: Stream
    sequence: int
    floor: int
    body: bytes
    stored: bool = False


@dataclass(frozen=True)
class _Held:
    """A message in memory, and what a plan has to know of it."""

    row: SpoolRow
    waiting: Waiting

    @property
    def key(self) -> Key:
        """Its boot and stream."""
        return self.row.boot, self.row.stream


@dataclass(frozen=True)
class _State:
    """What the spool knows besides its database; replaced as a whole, so that what fails is as if it never was."""

    held: tuple[_Held, ...] = ()
    gone: dict[Key, int] = field(default_factory=dict)
    """Up to which sequence the messages on the disk are not wanted any more; they are removed by a later commit."""
    removals: int = 0
    removals_since_s: float = 0.0
    unreadable: int = 0
    """Of `removals`, those of messages that nobody can read, which are the first to go."""
    count: int = 0
    size: int = 0
    dropped: int = 0
    unwritten: int = 0


class Spool:
    """The spool of one device; safe to use from many threads.

    Raises:
        sqlite3.Error: the disk is so full or broken that not even an empty spool can be made.
    """

    def __init__(self, path: Path, settings: SpoolSettings) -> None:
        self._lock = threading.RLock()
        self._settings, self._rules, self._monotonic = settings, settings.rules, settings.monotonic
        self._sequences = dict.fromkeys(Stream, 0)
        self._database = SpoolDatabase(path)
        try:
            self._last_id = self._database.last_id()
            count, size = self._database.count_all()
            day_bytes, now_s = settings.day_bytes, settings.monotonic()
            self._budget = None if day_bytes is None else self._database.budget(day_bytes, now_s=now_s)
        except BaseException:
            self._database.close()
            raise
        bad = self._database.unreadable
        if bad:
            _log.error("spool dropped what cannot be read messages=%d file=%s", bad, path)
        self._state = _State(
            removals=bad,
            removals_since_s=now_s,
            unreadable=bad,
            count=count,
            size=size + count * _OVERHEAD_BYTES,
            dropped=bad + self._database.put_aside,
        )
        self._written = 0
        self._retry_s = 0.0
        self._failing = False

    def close(self) -> None:
        """Write what waits in memory, within the budget, and close the database."""
        with self._lock:
            try:
                self._settle(replace(self._rules, hold_s=0.0))
            except sqlite3.Error as err:
                _log.warning("spool lost what was in memory messages=%d error=%s", len(self._state.held), err)
            self._database.close()

    def add(self, stream: Stream, body: bytes, *, sequence: int) -> bool:
        """Keep a message; tells whether it could be kept. `sequence` comes from `next_sequence`."""
        with self._lock:
            return self._add(stream, body, sequence=sequence, source=None)

    def add_once(self, stream: Stream, body: bytes, *, sequence: int, source: str, serial: int) -> bool:
        """Keep a message unless `source` already spooled this serial or a later one; tells whether the disk has it."""
        with self._lock:
            try:
                if self._database.last_serial(source) >= serial:
                    return True
                if self._held_serial(source) < serial:
                    return self._add(stream, body, sequence=sequence, source=(source, serial)) and (
                        self._held_serial(source) < serial
                    )
                self._settle(self._rules)
            except sqlite3.Error as err:
                self._failed(f"keep a message stream={stream.value}", err)
                return False
            return self._held_serial(source) < serial

    def next_sequence(self, stream: Stream) -> int:
        """Return the sequence that this boot's next message of a stream will have."""
        with self._lock:
            return self._sequences[stream] + 1

    def last_serial(self, source: str) -> int:
        """Return the last serial that `source` spooled, in whichever boot; 0 where there is none.

        Raises:
            sqlite3.Error: the database cannot be read.
        """
        with self._lock:
            return max(self._database.last_serial(source), self._held_serial(source))

    def after(self, position: int, *, limit: int) -> list[Spooled]:
        """Return messages in order whose id is greater than `position`."""
        with self._lock:
            floors: dict[Key, int] = {}
            found = []
            for row in islice(self._rows(position), limit):
                key = row.boot, row.stream
                if key not in floors:
                    floors[key] = self._floor(key)
                stored = not self._holds(row)
                found.append(
                    Spooled(row.id, row.boot, row.boot_count, row.stream, row.sequence, floors[key], row.body, stored)
                )
            return found

    def acknowledge(self, acks: Iterable[StreamAck]) -> int:
        """Drop what is stored; returns how many messages that were. From the disk they go with a later commit."""
        with self._lock:
            before = self._state.count
            try:
                for ack in acks:
                    self._state = self._without(self._state, (ack.boot, ack.stream), ack.sequence)
                dropped = before - self._state.count
                self._settle(self._rules)
            except sqlite3.Error as err:
                self._failed("drop what is stored", err)
                dropped = before - self._state.count
            return dropped

    def give_up(self, messages: Iterable[Spooled]) -> int:
        """Drop and count messages that nobody can read; returns how many that were."""
        with self._lock:
            given_up = 0
            try:
                for message in messages:
                    given_up += self._give_up(message.id)
                self._settle(self._rules)
            except sqlite3.Error as err:
                self._failed("drop what cannot be read", err)
            return given_up

    def write_due(self) -> None:
        """Write what has waited long enough; where the disk is full or broken it is asked again once a minute."""
        with self._lock:
            now_s = self._monotonic()
            if now_s < self._retry_s:
                return
            try:
                self._settle(self._rules)
            except sqlite3.Error as err:
                self._retry_s = now_s + _RETRY_S
                self._failed(f"write, and holds in memory messages={len(self._state.held)}", err)

    def gauges(self) -> SpoolGauges:
        """Return how much waits, and how much was dropped and written since this boot."""
        with self._lock:
            state = self._state
            return SpoolGauges(
                waiting=state.count, dropped=state.dropped, unwritten=state.unwritten, written_bytes=self._written
            )

    def _add(self, stream: Stream, body: bytes, *, sequence: int, source: tuple[str, int] | None) -> bool:
        assert sequence == self._sequences[stream] + 1
        before, now_s = self._state, self._monotonic()
        row = SpoolRow(
            self._last_id + 1, self._settings.boot, self._settings.boot_count, stream, sequence, body, source
        )
        at_once = stream is Stream.EVENT or self._rules.hold_s <= 0
        try:
            self._admit(_Held(row, Waiting(stream, len(body), now_s)))
            self._settle(self._rules)
        except sqlite3.Error as err:
            self._failed(f"keep a message stream={stream.value}", err)
            if at_once or not self._holds(row):
                self._state = replace(before, dropped=before.dropped + (source is None))
                return False
        self._last_id, self._sequences[stream] = row.id, sequence
        return True

    def _admit(self, new: _Held) -> None:
        """Take a message into memory; the oldest make room for it."""
        state, size = self._state, len(new.row.body) + _OVERHEAD_BYTES
        while state.count and state.size + size > self._settings.max_bytes:
            oldest = next(self._rows(0, state))
            state = self._without(state, (oldest.boot, oldest.stream), oldest.sequence)
            state = replace(state, dropped=state.dropped + 1)
        self._state = replace(state, held=(*state.held, new), count=state.count + 1, size=state.size + size)

    def _without(self, state: _State, key: Key, sequence: int) -> _State:
        """Return the state in which the messages of a boot and stream up to a sequence are not wanted any more."""
        gone = state.gone.get(key, 0)
        on_disk = self._database.found(key, above=gone, to=sequence)
        staying = tuple(h for h in state.held if h.key != key or h.row.sequence > sequence)
        size = on_disk.size + sum(h.waiting.size for h in state.held) - sum(h.waiting.size for h in staying)
        count = on_disk.count + len(state.held) - len(staying)
        return replace(
            state,
            held=staying,
            gone=state.gone | {key: on_disk.last} if on_disk.count else state.gone,
            removals=state.removals + on_disk.count,
            removals_since_s=state.removals_since_s if state.removals else self._monotonic(),
            count=state.count - count,
            size=state.size - size - count * _OVERHEAD_BYTES,
        )

    def _give_up(self, message_id: int) -> bool:
        state, row = self._state, next(self._rows(message_id - 1), None)
        if row is None or row.id != message_id:
            return False
        staying = tuple(h for h in state.held if h.row is not row)
        on_disk = len(staying) == len(state.held)
        if on_disk:
            self._database.give_up(message_id)
        self._state = replace(
            state,
            held=staying,
            removals=state.removals + on_disk,
            removals_since_s=state.removals_since_s if state.removals else self._monotonic(),
            unreadable=state.unreadable + on_disk,
            count=state.count - 1,
            size=state.size - len(row.body) - _OVERHEAD_BYTES,
            dropped=state.dropped + 1,
        )
        return True

    def _settle(self, rules: SpoolRules) -> None:
        """Write, remove and drop what is to be now.

        Raises:
            sqlite3.Error: the disk is full or broken; the spool is as before.
        """
        state, now_s = self._state, self._monotonic()
        if not state.held and not state.removals:
            return
        waiting = [h.waiting for h in state.held]
        memory = Memory(now_s, waiting, state.removals, state.removals_since_s)
        budget = None if self._budget is None else self._budget.at(now_s)
        decided = plan(budget, memory, rules=rules, price=self._database.price)
        try:
            if decided.writes:
                self._write(decided, budget)
        finally:
            self._shed()

    def _write(self, decided: WritePlan, budget: WriteBudget | None) -> None:
        state = self._state
        rows = [state.held[index].row for index in decided.write]
        unreadable = min(decided.removals, state.unreadable)
        removed = self._removable(decided.removals - unreadable)
        # What is kept is what is left if it costs the most: what it costs is known only when it is written.
        kept = None if budget is None else budget.charged(decided.most_bytes)
        gone = {key: to for key, (to, _) in removed.items()}
        written = self._database.commit(rows, gone=gone, unreadable=unreadable, budget=kept, most=decided.most_bytes)
        self._budget = None if budget is None else budget.charged(written)
        self._written += written
        if self._failing:
            self._failing = False
            _log.warning("spool writes again dropped=%d", state.dropped)
        now_on_disk = set(decided.write)
        done = [key for key, (to, _) in removed.items() if to == state.gone[key]]
        self._state = replace(
            state,
            held=tuple(h for index, h in enumerate(state.held) if index not in now_on_disk),
            gone={key: to for key, to in state.gone.items() if key not in done},
            removals=state.removals - unreadable - sum(count for _, count in removed.values()),
            unreadable=state.unreadable - unreadable,
        )

    def _removable(self, most: int) -> dict[Key, tuple[int, int]]:
        """Return up to which sequence at most so many unwanted messages go now, and how many those are."""
        found = {}
        for key, gone in self._state.gone.items():
            if most <= 0 or (first := self._database.lowest(key, above=0)) is None:
                break
            to = min(gone, first + most - 1)
            found[key] = to, self._database.found(key, above=0, to=to).count
            most -= found[key][1]
        return found

    def _shed(self) -> None:
        """Drop what neither the disk nor memory has room for."""
        state = self._state
        waiting = [h.waiting for h in state.held]
        if not (drop := excess(waiting, rules=self._rules)):
            return
        size = sum(waiting[index].size + _OVERHEAD_BYTES for index in drop)
        self._state = replace(
            state,
            held=tuple(h for index, h in enumerate(state.held) if index not in drop),
            count=state.count - len(drop),
            size=state.size - size,
            dropped=state.dropped + len(drop),
            unwritten=state.unwritten + len(drop),
        )

    def _rows(self, position: int, state: _State | None = None) -> Iterator[SpoolRow]:
        """Yield what is wanted, on the disk and in memory, in order."""
        state = state or self._state
        on_disk = self._database.rows(position, gone=state.gone)
        held = (h.row for h in state.held if h.row.id > position)
        return heapq.merge(on_disk, held, key=lambda row: row.id)

    def _floor(self, key: Key) -> int:
        lowest = self._database.lowest(key, above=self._state.gone.get(key, 0))
        held = [h.row.sequence for h in self._state.held if h.key == key]
        return min([*held, *([] if lowest is None else [lowest])])

    def _held_serial(self, source: str) -> int:
        found = (h.row.source for h in self._state.held)
        return max((told[1] for told in found if told is not None and told[0] == source), default=0)

    def _failed(self, what: str, err: sqlite3.Error) -> None:
        """Say so, once until it works again."""
        if not self._failing:
            self._failing = True
            _log.warning("spool cannot %s error=%s", what, err)

    def _holds(self, row: SpoolRow) -> bool:
        return any(h.row is row for h in self._state.held)


def open_spool(path: Path, settings: SpoolSettings) -> Spool:
    """Open the spool on disk; where not even that is possible, one in memory, for the device must come up."""
    try:
        return Spool(path, settings)
    except sqlite3.Error as err:
        _log.error("spool kept in memory only file=%s error=%s", path, err)
        return Spool(Path(":memory:"), replace(settings, day_bytes=None))
