"""The composition of one telemetry window from counters and gauges, never larger than the limit. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from edgemm.messages import (
    MAX_TELEMETRY_BYTES,
    LabelCounters,
    ModelCounters,
    SpoolGauges,
    SystemGauges,
    Telemetry,
)
from edgemm_runtime.agent.reporting import shadow_counters
from edgemm_runtime.agent.reporting.packing import packed_bytes
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.models.counters import CounterSnapshot
from edgemm_runtime.models.feedback import Agreed
from edgemm_runtime.shadow.tally import ShadowCounts

_MAX_MODELS = 64


class Moment(msgspec.Struct, frozen=True):
    """When and where in the device's life a window ends."""

    boot: str
    sequence: int
    floor: int
    time_s: float
    uptime_s: float


class Served(msgspec.Struct, frozen=True):
    """What is counted of what was served: requests, shadows beside it, and late labels."""

    models: Sequence[CounterSnapshot] = ()
    shadows: Sequence[ShadowCounts] = ()
    labels: Sequence[Agreed] = ()
    unmatched_labels: int = 0


def window(
    moment: Moment,
    served: Served,
    *,
    active: frozenset[tuple[str, str, str]],
    system: SystemGauges,
    spool: SpoolGauges,
) -> Telemetry:
    """Compose a window that fits; `active` are (model, digest, variant) of what serves now.

    What serves comes first, then what served the most. What does not fit is left out: first what shadows found class
    by class, the rarest classes first, then what they found at all, then models, which are counted in `shed`. The
    counters are cumulative, so what is shed is late and not lost.
    """
    ranked = sorted(served.models, key=lambda s: (_key(s) not in active, -s.requests, _key(s)))
    labelled = {one.key for one in served.labels}
    kept = [one for one in ranked if one.requests or _key(one) in active or one.key in labelled]
    frame = Telemetry(
        boot=bytes.fromhex(moment.boot),
        sequence=moment.sequence,
        floor=moment.floor,
        time_s=max(0, int(moment.time_s)),
        uptime_s=max(0, int(moment.uptime_s)),
        system=system,
        spool=spool,
        shed=max(0, len(kept) - _MAX_MODELS),
        unmatched_labels=served.unmatched_labels or UNSET,
    )
    told = tuple(_counters(snapshot, served) for snapshot in kept[:_MAX_MODELS])

    def with_shed(number: int) -> Telemetry:
        return replace(frame, shed=frame.shed + number)

    def room_bytes(number: int) -> int:
        # The floor is set anew when a window is sent and may then take up to eight bytes more than now.
        return MAX_TELEMETRY_BYTES - packed_bytes(replace(with_shed(number), floor=2**53 - 1))

    models = shadow_counters.fitted(told, room_bytes=room_bytes)
    return replace(with_shed(len(told) - len(models)), models=models)


def _key(snapshot: CounterSnapshot) -> tuple[str, str, str]:
    return snapshot.key.name, snapshot.key.digest, snapshot.key.variant


def _counters(snapshot: CounterSnapshot, served: Served) -> ModelCounters:
    counts = list(snapshot.latency_counts)
    while counts and counts[-1] == 0:
        counts.pop()
    return ModelCounters(
        name=snapshot.key.name,
        digest=bytes.fromhex(snapshot.key.digest),
        variant=snapshot.key.variant,
        requests=snapshot.requests,
        errors=snapshot.errors,
        latency_sum_us=round(snapshot.latency_sum_s * 1e6),
        latency_counts=tuple(counts),
        shadows=tuple(shadow_counters.of(snapshot.key, served.shadows)) or UNSET,
        labels=_labels(snapshot.key, served.labels),
    )


def _labels(key: ServedKey, labels: Sequence[Agreed]) -> LabelCounters | UnsetType:
    found = next((one for one in labels if one.key == key), None)
    if found is None:
        return UNSET
    return LabelCounters(matched=found.agreed + found.disagreed, correct=found.agreed)
