from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm.messages import (
    LabelCounters,
    ModelCounters,
    ShadowCounters,
    ShadowOutput,
    SpoolGauges,
    SystemGauges,
    Telemetry,
)
from edgemm_runtime.agent.reporting.packing import packed_bytes

NATURAL = st.integers(0, 2**53 - 1)
GAUGE = st.none() | NATURAL
NATURALS = st.lists(NATURAL, max_size=33).map(tuple)
OUTPUT = st.builds(
    ShadowOutput,
    name=st.text(max_size=128),
    rows=NATURAL,
    agreed=NATURAL,
    classes=st.lists(st.tuples(NATURAL, NATURAL, NATURAL, NATURAL), max_size=20).map(tuple),
    errors=NATURALS,
)
SHADOW = st.builds(
    ShadowCounters,
    digest=st.binary(min_size=32, max_size=32),
    variant=st.text(max_size=128),
    sampled=NATURAL,
    compared=NATURAL,
    errors=NATURAL,
    dropped=NATURAL,
    crashes=NATURAL,
    outputs=st.lists(OUTPUT, max_size=3).map(tuple),
)
MODEL = st.builds(
    ModelCounters,
    name=st.text(max_size=64),
    digest=st.binary(min_size=32, max_size=32),
    variant=st.text(max_size=300),
    requests=NATURAL,
    errors=NATURAL,
    latency_sum_us=NATURAL,
    latency_counts=NATURALS,
    shadows=st.just(msgspec.UNSET) | st.lists(SHADOW, max_size=3).map(tuple),
    labels=st.just(msgspec.UNSET) | st.builds(LabelCounters, matched=NATURAL, correct=NATURAL),
)
WINDOW = st.builds(
    Telemetry,
    boot=st.binary(min_size=8, max_size=8),
    sequence=NATURAL,
    floor=NATURAL,
    time_s=NATURAL,
    uptime_s=NATURAL,
    models=st.lists(MODEL, max_size=20).map(tuple),
    system=st.builds(SystemGauges, temperature_c=st.none() | st.floats(), memory_available_bytes=GAUGE),
    spool=st.builds(SpoolGauges, waiting=NATURAL, dropped=NATURAL, unwritten=GAUGE),
    shed=NATURAL,
    unmatched_labels=st.just(msgspec.UNSET) | NATURAL,
)


@given(WINDOW)
def test_a_window_takes_what_was_counted(window: Telemetry) -> None:
    assert packed_bytes(window) == len(msgspec.msgpack.encode(window))


@pytest.mark.parametrize("edge", [2**bits for bits in (5, 7, 8, 15, 16, 31, 32, 53)])
def test_sizes_at_the_edges_of_the_format(edge: int) -> None:
    for number in range(edge - 2, edge + 2):
        for value in (number, -number):
            assert packed_bytes(value) == len(msgspec.msgpack.encode(value)), value


@pytest.mark.parametrize("length", [0, 15, 16, 31, 32, 255, 256, 65535, 65536])
@pytest.mark.parametrize("make", [lambda n: "x" * n, bytes, lambda n: (None,) * n], ids=["text", "bytes", "list"])
def test_lengths_at_the_edges_of_the_format(make: object, length: int) -> None:
    value = make(length)  # type: ignore[operator]  # a constructor of the table above
    assert packed_bytes(value) == len(msgspec.msgpack.encode(value))
