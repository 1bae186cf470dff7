"""The positions in devices' streams after a batch, and the acknowledgements that follow from them.

However many streams a batch is of, their positions are read by one statement and written by one: a statement each was
nine tenths of what a window cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edgemm.messages import Ack, Event, Stream, StreamAck, Telemetry
from edgemm_fleet.ingest.contiguity import contiguous
from edgemm_fleet.ingest.reading import Heard
from edgemm_fleet.store import Transaction, streams
from edgemm_fleet.store.streams import Position, StreamKey

_MAX_ACKS = 64
_MOST_STREAMS = 1000
"""Of one device, of which positions are kept; each start has two."""
_LOOKED_AT = 1000
"""Sequences that are read at a time."""


@dataclass
class _Numbers:
    """What one boot's stream brought in this batch."""

    sequences: set[int] = field(default_factory=set)
    floor: int = 1


def acknowledge(tx: Transaction, messages: Sequence[Heard]) -> dict[str, tuple[Ack, ...]]:
    """Move the positions on by what a batch brought, all of which is stored; return the acks to send, by device."""
    found = _numbers(messages)
    known = streams.positions_of(tx, list(found))
    changed: dict[StreamKey, Position] = {}
    acks: dict[str, list[StreamAck]] = {}
    for key, numbers in found.items():
        before = known.get(key, streams.NOWHERE)
        after = _advanced(tx, key, numbers, before=before)
        if after != before:
            changed[key] = after
        # Nobody signs telemetry: a number that was made up puts the position above all that the device ever sent,
        # and it believes no such acknowledgement. So what came now is acknowledged on its own too.
        told, position, came = acks.setdefault(key.device, []), after.contiguous, max(numbers.sequences)
        told += [
            StreamAck(boot=key.boot, stream=key.stream, sequence=n) for n in sorted({min(position, came), position})
        ]
    streams.put_positions(tx, changed)
    if new := {key.device for key in found if key not in known}:
        for device in streams.of_many_boots(tx, new, most=_MOST_STREAMS):
            streams.forget_boots(tx, device, most=_MOST_STREAMS)
    return {device: _acks(items) for device, items in acks.items()}


def _numbers(messages: Sequence[Heard]) -> dict[StreamKey, _Numbers]:
    found: dict[StreamKey, _Numbers] = {}
    for device, message, _, _ in messages:
        match message:
            case Event():
                key = StreamKey(device, message.boot, Stream.EVENT)
            case Telemetry():
                key = StreamKey(device, message.boot.hex(), Stream.TELEMETRY)
            case _:
                continue
        if (numbers := found.get(key)) is None:
            numbers = found[key] = _Numbers()
        numbers.sequences.add(message.sequence)
        numbers.floor = max(numbers.floor, message.floor)
    return found


def _advanced(tx: Transaction, key: StreamKey, numbers: _Numbers, *, before: Position) -> Position:
    highest = max(before.highest, *numbers.sequences)
    if before.highest <= before.contiguous:  # nothing waits above the position: what is there came just now
        stored = sorted(numbers.sequences)
        return Position(contiguous(before.contiguous, floor=numbers.floor, stored=stored), highest)
    position = contiguous(before.contiguous, floor=numbers.floor, stored=())
    return Position(_followed(tx, key, position=position), highest)


def _followed(tx: Transaction, key: StreamKey, *, position: int) -> int:
    """Return the position after what is stored; behind a gap no more is looked at, however much of it there is."""
    while True:
        stored = streams.sequences_above(tx, key, above=position, limit=_LOOKED_AT)
        before, position = position, contiguous(position, floor=1, stored=stored)
        if position - before < _LOOKED_AT:
            return position


def _acks(items: list[StreamAck]) -> tuple[Ack, ...]:
    return tuple(Ack(acks=tuple(items[i : i + _MAX_ACKS])) for i in range(0, len(items), _MAX_ACKS))
