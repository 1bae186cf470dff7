"""The positions in devices' streams after a batch, the windows of it that are new, and the acknowledgements.

However many streams a batch is of, their positions are read by one statement and written by one: a statement each was
nine tenths of what a window cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from edgemm.messages import Ack, Event, Stream, StreamAck, Telemetry
from edgemm_fleet.ingest.contiguity import contiguous
from edgemm_fleet.ingest.reading import Heard
from edgemm_fleet.store import Transaction, streams
from edgemm_fleet.store.history import windows
from edgemm_fleet.store.history.windows import Came
from edgemm_fleet.store.streams import Position, StreamKey

_MAX_ACKS = 64
_MOST_STREAMS = 1000
"""Of one device, of which positions are kept; each start has two."""
_LOOKED_AT = 1000
"""Sequences that are read at a time."""


_REMEMBERED = 1024
"""Windows above the position of which it is remembered that they came: sixteen times what a device has on its way.
Those beyond are neither kept nor acknowledged, and come again."""


@dataclass
class _Numbers:
    """What one boot's stream brought in this batch."""

    came: dict[int, Heard] = field(default_factory=dict)
    """By sequence."""
    floor: int = 1


def acknowledge(tx: Transaction, messages: Sequence[Heard], *, now: float) -> dict[str, tuple[Ack, ...]]:
    """Keep what is new of windows, and move the positions on; return the acks to send, by device.

    Events of the batch are stored already.
    """
    found = _numbers(messages)
    known = streams.positions_of(tx, list(found))
    changed: dict[StreamKey, Position] = {}
    acks: dict[str, list[StreamAck]] = {}
    came: list[Came] = []
    for key, numbers in found.items():
        before = known.get(key, streams.NOWHERE)
        if key.stream is Stream.TELEMETRY:
            after = _remembered(before, numbers)
            came += _new(before, after, numbers)
        else:
            after = _advanced(tx, key, numbers, before=before)
        if after != before:
            changed[key] = after
        # Nobody signs telemetry: a number that was made up puts the position above all that the device ever sent,
        # and it believes no such acknowledgement. So what came now is acknowledged on its own too.
        told, position, last = acks.setdefault(key.device, []), after.contiguous, max(numbers.came)
        told += [
            StreamAck(boot=key.boot, stream=key.stream, sequence=n) for n in sorted({min(position, last), position})
        ]
    windows.add(tx, came, now=now)
    streams.put_positions(tx, changed)
    if new := {key.device for key in found if key not in known}:
        for device in streams.of_many_boots(tx, new, most=_MOST_STREAMS):
            streams.forget_boots(tx, device, most=_MOST_STREAMS)
        windows.forget_boots(tx, new)
    return {device: _acks(items) for device, items in acks.items()}


def _numbers(messages: Sequence[Heard]) -> dict[StreamKey, _Numbers]:
    found: dict[tuple[str, str | bytes], _Numbers] = {}
    for heard in messages:
        device, message, _, _ = heard
        if not isinstance(message, Telemetry | Event):
            continue
        key = (device, message.boot)
        if (numbers := found.get(key)) is None:
            numbers = found[key] = _Numbers()
        numbers.came.setdefault(message.sequence, heard)
        numbers.floor = max(numbers.floor, message.floor)
    return {_key(device, boot): numbers for (device, boot), numbers in found.items()}


def _key(device: str, boot: str | bytes) -> StreamKey:
    """Return the key of a stream; windows have the boot as bytes."""
    if isinstance(boot, bytes):
        return StreamKey(device, boot.hex(), Stream.TELEMETRY)
    return StreamKey(device, boot, Stream.EVENT)


def _remembered(before: Position, numbers: _Numbers) -> Position:
    """Return the position of windows: of those behind a gap each is a bit."""
    last = max(numbers.came)
    highest = max(before.highest, last)
    if not before.above and last - min(numbers.came) < len(numbers.came) and min(numbers.came) <= before.contiguous + 1:
        return Position(max(before.contiguous, numbers.floor - 1, last), highest)  # nearly always
    there = sorted(set(numbers.came) | set(_behind_gap(before)))
    reached = contiguous(before.contiguous, floor=numbers.floor, stored=there)
    above = sum(1 << (n - reached - 1) for n in there if reached < n <= reached + _REMEMBERED)
    return Position(reached, highest, above)


def _behind_gap(position: Position) -> Iterator[int]:
    above, sequence = position.above, position.contiguous
    while above:
        sequence += 1
        if above & 1:
            yield sequence
        above >>= 1


def _new(before: Position, after: Position, numbers: _Numbers) -> Iterator[Came]:
    """Yield the windows that were not here before, in the order in which they came."""
    first, above, last = before.contiguous + 1, before.above, after.contiguous + _REMEMBERED
    for sequence, (device, window, sent, _) in numbers.came.items():
        distance = sequence - first
        if distance >= 0 and not (above and above >> min(distance, _REMEMBERED) & 1):
            assert isinstance(window, Telemetry)
            yield Came(device, window, sent, sequence <= last)


def _advanced(tx: Transaction, key: StreamKey, numbers: _Numbers, *, before: Position) -> Position:
    """Return the position of events, all of which are stored."""
    highest = max(before.highest, *numbers.came)
    if before.highest <= before.contiguous:  # nothing waits above the position: what is there came just now
        stored = sorted(numbers.came)
        return Position(contiguous(before.contiguous, floor=numbers.floor, stored=stored), highest)
    position = contiguous(before.contiguous, floor=numbers.floor, stored=())
    return Position(_followed(tx, key, position=position), highest)


def _followed(tx: Transaction, key: StreamKey, *, position: int) -> int:
    """Return the position after what is stored; behind a gap no more is looked at, however much of it there is."""
    while True:
        stored = streams.events_above(tx, key, above=position, limit=_LOOKED_AT)
        before, position = position, contiguous(position, floor=1, stored=stored)
        if position - before < _LOOKED_AT:
            return position


def _acks(items: list[StreamAck]) -> tuple[Ack, ...]:
    return tuple(Ack(acks=tuple(items[i : i + _MAX_ACKS])) for i in range(0, len(items), _MAX_ACKS))
