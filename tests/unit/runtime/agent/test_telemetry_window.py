from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgemm.canonical import sha256
from edgemm.messages import MAX_TELEMETRY_BYTES, SpoolGauges, SystemGauges, decode_telemetry, encode_telemetry
from edgemm_runtime.agent.telemetry import Moment, Served, window
from edgemm_runtime.serving.counters import CounterSnapshot, ServedKey

MOMENT = Moment(boot="0123456789abcdef", sequence=3, floor=1, time_s=1.8e9, uptime_s=61.2)
SPOOL = SpoolGauges(waiting=4, dropped=0)


def _snapshot(name: str, requests: int, *, buckets: int = 33) -> CounterSnapshot:
    key = ServedKey(name, "1.0.0", sha256(name.encode()), "tflite:float32")
    return CounterSnapshot(key, requests, 1, 0.25, tuple([requests] * buckets) + (0,) * (33 - buckets))


def _key(snapshot: CounterSnapshot) -> tuple[str, str, str]:
    return snapshot.key.name, snapshot.key.digest, snapshot.key.variant


def test_a_window_tells_the_counters_without_empty_buckets() -> None:
    told = window(
        MOMENT, Served([_snapshot("a", 7, buckets=2)]), active=frozenset(), system=SystemGauges(), spool=SPOOL
    )
    (model,) = told.models
    assert (model.requests, model.errors, model.latency_sum_us, model.latency_counts) == (7, 1, 250_000, (7, 7))
    assert (told.sequence, told.uptime_s, told.shed) == (3, 61, 0)


def test_what_never_served_is_left_out_unless_it_is_active() -> None:
    idle = _snapshot("idle", 0)
    assert not window(MOMENT, Served([idle]), active=frozenset(), system=SystemGauges(), spool=SPOOL).models
    told = window(MOMENT, Served([idle]), active=frozenset({_key(idle)}), system=SystemGauges(), spool=SPOOL)
    assert [model.name for model in told.models] == ["idle"]


@given(st.lists(st.integers(0, 2**40), max_size=80))
def test_a_window_always_fits_and_counts_what_it_sheds(requests: list[int]) -> None:
    snapshots = [_snapshot(f"m{number}", count) for number, count in enumerate(requests)]
    active = frozenset({_key(snapshots[-1])}) if snapshots else frozenset[tuple[str, str, str]]()
    told = window(MOMENT, Served(snapshots), active=active, system=SystemGauges(), spool=SPOOL)
    data = encode_telemetry(told)
    assert len(data) <= MAX_TELEMETRY_BYTES
    assert decode_telemetry(data) == told
    assert len(told.models) + told.shed == sum(1 for s in snapshots if s.requests or _key(s) in active)
    if snapshots:
        assert told.models[0].name == snapshots[-1].key.name, "what serves now is told before all"
