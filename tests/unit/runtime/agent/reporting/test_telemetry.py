from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from edgemm.canonical import sha256
from edgemm.messages import (
    MAX_TELEMETRY_BYTES,
    LabelCounters,
    ModelCounters,
    SpoolGauges,
    SystemGauges,
    Telemetry,
    decode_telemetry,
    encode_telemetry,
)
from edgemm_runtime.agent.reporting.telemetry import Moment, Served, window
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.models.counters import CounterSnapshot
from edgemm_runtime.models.feedback import Agreed
from edgemm_runtime.shadow.agreement import Agreement, ClassAgreement, ErrorDistribution
from edgemm_runtime.shadow.tally import ShadowCounts, ShadowKey

MOMENT = Moment(boot="0123456789abcdef", sequence=3, floor=1, time_s=1.8e9, uptime_s=61.2)
SPOOL = SpoolGauges(waiting=4, dropped=0)


def _snapshot(name: str, requests: int, buckets: int = 33) -> CounterSnapshot:
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


def _counts(active: CounterSnapshot, version: str, *, compared: int = 9, **outputs: Agreement) -> ShadowCounts:
    shadow = ServedKey(active.key.name, version, sha256(version.encode()), "tflite:int8")
    return ShadowCounts(ShadowKey(active.key, shadow), sampled=10, compared=compared, dropped=1, agreement=outputs)


def _outputs(classes: int, most: int, *, values: bool) -> dict[str, Any]:
    scores = ClassAgreement(agreed={index: most - index for index in range(classes)})
    return {"scores": scores} | ({"values": ErrorDistribution((most,) * 16)} if values else {})


def _window(served: Served) -> Telemetry:
    return window(MOMENT, served, active=frozenset(), system=SystemGauges(), spool=SPOOL)


def test_what_shadows_and_labels_found_stands_beside_the_version_that_it_is_about() -> None:
    one, other = _snapshot("one", 7, buckets=1), _snapshot("other", 5, buckets=1)
    found = ClassAgreement(agreed={1: 5, 4: 1}, active_only={1: 2}, shadow_only={7: 2})
    errors = ErrorDistribution((3, 0, 1, *[0] * 13), above=1, below=0)
    told = _window(
        Served([one, other], [_counts(one, "2.0.0", scores=found, values=errors)], [Agreed(other.key, 4, 2)], 3)
    )
    first, second = told.models
    assert isinstance(first.shadows, tuple)
    (shadow,) = first.shadows
    assert (shadow.digest.hex(), shadow.sampled, shadow.compared, shadow.dropped) == (sha256(b"2.0.0"), 10, 9, 1)
    scores, values = shadow.outputs
    assert (scores.rows, scores.agreed) == (8, 6)
    assert scores.classes == ((1, 5, 2, 0), (7, 0, 0, 2), (4, 1, 0, 0))
    assert (values.errors, values.above) == ((3, 0, 1), 1)
    assert second.labels == LabelCounters(matched=6, correct=4)
    assert (second.shadows, first.labels, told.unmatched_labels) == (UNSET, UNSET, 3)


def test_without_shadows_and_labels_a_window_is_what_it_was_before_there_were_any() -> None:
    assert set(msgspec.msgpack.decode(encode_telemetry(_window(Served([_snapshot("a", 7)]))))) == set("vbnftumsqh")


@pytest.mark.parametrize("classes", [10, 100, 256])
def test_a_window_sheds_rare_classes_first_and_keeps_the_totals(classes: int) -> None:
    model = _snapshot("a", 7, buckets=1)
    found = ClassAgreement(agreed={index: 10**9 - index for index in range(classes)})
    told = _window(Served([model], [_counts(model, "2.0.0", scores=found)]))
    assert len(encode_telemetry(told)) <= MAX_TELEMETRY_BYTES
    assert isinstance(told.models[0].shadows, tuple)
    ((output,),) = [shadow.outputs for shadow in told.models[0].shadows]
    assert (output.rows, output.agreed, told.shed) == (found.rows, found.rows, 0)
    assert [index for index, *_ in output.classes] == list(range(len(output.classes)))
    assert len(output.classes) == classes if classes == 10 else 10 < len(output.classes) < classes


def test_a_window_sheds_old_shadows_before_it_sheds_a_model() -> None:
    models = [_snapshot(f"m{number}", 7, buckets=1) for number in range(5)]
    errors = ErrorDistribution((10**9,) * 16)
    versions = [f"{number}.0.0" for number in range(9)]
    told = _window(Served(models, [_counts(models[0], version, values=errors) for version in versions]))
    assert (len(told.models), told.shed) == (5, 0)
    assert isinstance(told.models[0].shadows, tuple)
    newest = [sha256(version.encode()) for version in versions[::-1]]
    assert [s.digest.hex() for s in told.models[0].shadows] == newest[: len(told.models[0].shadows)]


def _shed_one_by_one(whole: Telemetry) -> Telemetry:
    """What a window keeps if each step of shedding is made and measured, one after the other."""
    models = whole.models
    shadows = [model.shadows for model in models if model.shadows is not UNSET]
    classes = max((len(output.classes) for all_ in shadows for one in all_ for output in one.outputs), default=0)
    while len(msgspec.msgpack.encode(replace(whole, models=models, floor=2**53 - 1))) > MAX_TELEMETRY_BYTES:
        if classes:
            classes //= 2
            models = tuple(_changed(model, classes=classes) for model in models)
        elif most := max((len(model.shadows) for model in models if model.shadows is not UNSET), default=0):
            models = tuple(_changed(model, shadows=most - 1) for model in models)
        else:
            models, whole = models[:-1], replace(whole, shed=whole.shed + 1)
    return replace(whole, models=models)


def _changed(model: ModelCounters, *, shadows: int = 64, classes: int | None = None) -> ModelCounters:
    if model.shadows is UNSET:
        return model
    kept = model.shadows[:shadows]
    if classes is not None:
        kept = tuple(
            replace(s, outputs=tuple(replace(o, classes=o.classes[:classes]) for o in s.outputs)) for s in kept
        )
    return replace(model, shadows=kept or UNSET)


@given(
    models=st.lists(st.tuples(st.integers(1, 2**40), st.integers(1, 33)), min_size=1, max_size=20),
    shadows=st.lists(
        st.tuples(st.integers(0, 19), st.integers(0, 256), st.integers(1, 10**9), st.booleans()), max_size=12
    ),
)
def test_what_is_shed_is_what_step_by_step_would_be(
    models: list[tuple[int, int]], shadows: list[tuple[int, int, int, bool]]
) -> None:
    snapshots = [_snapshot(f"m{number}", *pair) for number, pair in enumerate(models)]
    counts = [
        _counts(snapshots[beside % len(snapshots)], f"{number}.0.0", **_outputs(classes, most, values=values))
        for number, (beside, classes, most, values) in enumerate(shadows)
    ]
    found = _window(Served(snapshots, counts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgemm_runtime.agent.reporting.telemetry.MAX_TELEMETRY_BYTES", 1 << 30)
        whole = _window(Served(snapshots, counts))
    assert found == _shed_one_by_one(whole)
