"""The positions of a batch, read and written together, are those that each stream by itself gave, as are the acks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import ColumnElement, Integer, delete, literal_column, select

from edgemm import times
from edgemm.messages import Ack, Event, SpoolGauges, Stream, StreamAck, Telemetry
from edgemm_fleet.ingest import stream_positions
from edgemm_fleet.ingest.contiguity import contiguous
from edgemm_fleet.ingest.reading import Heard
from edgemm_fleet.ingest.stream_positions import acknowledge
from edgemm_fleet.store import Store, Transaction, streams
from edgemm_fleet.store.dialects import portable
from edgemm_fleet.store.history.history_tables import latest
from edgemm_fleet.store.schema import events, positions
from edgemm_fleet.store.streams import StreamKey

pytestmark = pytest.mark.fleet

MOST_STREAMS, LOOKED_AT = 5, 4
DEVICES = ("cam-1", "cam-2", "cam-3")
START = 1_800_000_000.0
POSITION = [positions.c[name] for name in ("device", "boot", "stream", "contiguous", "highest")]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Store]]:
    folder = tmp_path_factory.mktemp("stores")
    with closing(Store.open(folder / "together.db")) as together, closing(Store.open(folder / "alone.db")) as alone:
        yield together, alone


@settings(max_examples=100, deadline=None)
@given(rng=st.randoms(use_true_random=False))
def test_a_batch_is_acknowledged_as_each_of_its_streams_was_alone(
    stores: tuple[Store, Store], rng: random.Random
) -> None:
    together, alone = stores
    for both in stores:
        with both.write() as tx:
            for table in (positions, events, latest):
                tx.execute(delete(table))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_positions, "_MOST_STREAMS", MOST_STREAMS)
        patch.setattr(stream_positions, "_LOOKED_AT", LOOKED_AT)
        windows = dict[StreamKey, set[int]]()
        for batch in batches(rng):
            with together.write() as tx:
                stored(tx, batch)
                found = acknowledge(tx, batch, now=START)
                kept = tx.execute(select(*POSITION).order_by(literal_column("rowid"))).all()
            with alone.write() as tx:
                stored(tx, batch)
                assert found == acknowledged_alone(tx, batch, windows)
                assert kept == tx.execute(select(*POSITION).order_by(literal_column("rowid"))).all()
            if not rng.randrange(10):
                for both in stores:
                    with both.write() as tx:
                        streams.forget_positions(tx, DEVICES[0])
                for key in [key for key in windows if key.device == DEVICES[0]]:
                    del windows[key]


def batches(rng: random.Random) -> Iterator[list[Heard]]:
    """Yield batches of what devices send over several starts: with gaps, doubles, made-up numbers, in any order."""
    boots = {device: [f"{rng.getrandbits(64):016x}"] for device in DEVICES}
    highest: dict[tuple[str, str, Stream], int] = {}
    floors: dict[tuple[str, str, Stream], int] = {}
    for _ in range(rng.randint(1, 12)):
        batch = []
        for _ in range(rng.randint(0, 12)):
            device = rng.choice(DEVICES)
            if not rng.randrange(6):
                boots[device].append(f"{rng.getrandbits(64):016x}")
            key = (device, rng.choice(boots[device]), rng.choice(list(Stream)))
            if rng.randrange(3):
                number = highest[key] = highest.get(key, 0) + rng.choice((1, 1, 1, 2, 9))
            else:
                number = rng.randint(1, highest.get(key, 0) + 1)
            if not rng.randrange(8):
                floors[key] = rng.randint(1, number)
            batch.append(heard(*key, number=number, floor=min(number, floors.get(key, 1))))
        rng.shuffle(batch)
        yield batch


def heard(device: str, boot: str, stream: Stream, *, number: int, floor: int) -> Heard:
    """Return an item of a stream."""
    if stream is Stream.TELEMETRY:
        gauges = SpoolGauges(waiting=0, dropped=0)
        window = Telemetry(
            boot=bytes.fromhex(boot), sequence=number, floor=floor, time_s=int(START), uptime_s=1, spool=gauges
        )
        return Heard(device, window, b"window", live=True)
    event = Event(
        fleet="lab",
        device=device,
        boot=boot,
        boot_count=1,
        sequence=number,
        floor=floor,
        time=times.to_text(START),
        uptime_s=1.0,
        cause="update",
    )
    return Heard(device, event, b"event", live=True)


def stored(tx: Transaction, batch: list[Heard]) -> None:
    streams.add_events(tx, [one.message for one in batch if isinstance(one.message, Event)], now=START)


def acknowledged_alone(
    tx: Transaction, batch: list[Heard], windows: dict[StreamKey, set[int]]
) -> dict[str, tuple[Ack, ...]]:
    """Do what was done before: read and write the position of one stream after the other, and remember all windows."""
    found: dict[tuple[str, str, Stream], tuple[set[int], list[int]]] = {}
    for device, message, _, _ in batch:
        assert isinstance(message, Event | Telemetry)
        if isinstance(message, Event):
            key = (device, message.boot, Stream.EVENT)
        else:
            key = (device, message.boot.hex(), Stream.TELEMETRY)
            windows.setdefault(StreamKey(*key), set()).add(message.sequence)
        sequences, floors = found.setdefault(key, (set(), [1]))
        sequences.add(message.sequence)
        floors.append(message.floor)
    acks: dict[str, list[StreamAck]] = {}
    new = set[str]()
    for (device, boot, stream), (sequences, floors) in found.items():
        mine = (positions.c.device == device) & (positions.c.boot == boot) & (positions.c.stream == stream.value)
        known = tx.execute(select(positions.c.contiguous, positions.c.highest).where(mine)).one_or_none()
        before, highest = (0, 0) if known is None else known
        if known is None:
            new.add(device)
        if highest <= before:
            position = contiguous(before, floor=max(floors), stored=sorted(sequences))
        else:
            position = contiguous(before, floor=max(floors), stored=())
            if stream is Stream.EVENT:
                of_it = select(events.c.sequence).where(events.c.device == device, events.c.boot == boot)
                there = list(tx.execute(of_it).scalars())
            else:
                there = list(windows[StreamKey(device, boot, stream)])
            position = contiguous(position, floor=1, stored=sorted(n for n in there if n > position))
        if (position, max(highest, *sequences)) != (before, highest):
            row = {"device": device, "boot": boot, "stream": stream.value, "contiguous": position}
            portable.put(tx, positions, [row | {"highest": max(highest, *sequences)}])
        told = sorted({min(position, max(sequences)), position})
        acks.setdefault(device, []).extend(StreamAck(boot=boot, stream=stream, sequence=n) for n in told)
    for device in new:
        order: ColumnElement[int] = literal_column("rowid", Integer)
        latest = select(order).select_from(positions).where(positions.c.device == device)
        kept = latest.order_by(order.desc()).limit(MOST_STREAMS)
        tx.execute(delete(positions).where(positions.c.device == device, order.not_in(kept)))
    remembered = set(map(tuple, tx.execute(select(positions.c.device, positions.c.boot, positions.c.stream))))
    for forgotten in {key for key in windows if key not in remembered}:
        del windows[forgotten]
    return {device: (Ack(acks=tuple(told)),) for device, told in acks.items()}
