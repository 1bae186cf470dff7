"""One telemetry window out of counters and gauges, never larger than the limit. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from edgemm.errors import MessageError
from edgemm.messages import ModelCounters, SpoolGauges, SystemGauges, Telemetry, encode_telemetry
from edgemm_runtime.serving.counters import CounterSnapshot

_MAX_MODELS = 64


class Moment(msgspec.Struct, frozen=True):
    """When and where in the device's life a window ends."""

    boot: str
    sequence: int
    floor: int
    time_s: float
    uptime_s: float


def window(
    moment: Moment,
    snapshots: Sequence[CounterSnapshot],
    *,
    active: frozenset[tuple[str, str, str]],
    system: SystemGauges,
    spool: SpoolGauges,
) -> Telemetry:
    """Compose a window that fits; `active` are (model, digest, variant) of what serves now.

    What serves comes first, then what served the most; what does not fit is left out and counted in `shed`. The
    counters are cumulative, so what is shed is late and not lost.
    """
    ranked = sorted(snapshots, key=lambda s: (_key(s) not in active, -s.requests, _key(s)))
    counted = [_counters(snapshot) for snapshot in ranked if snapshot.requests or _key(snapshot) in active]
    whole = Telemetry(
        boot=bytes.fromhex(moment.boot),
        sequence=moment.sequence,
        floor=moment.floor,
        time_s=max(0, int(moment.time_s)),
        uptime_s=max(0, int(moment.uptime_s)),
        models=tuple(counted[:_MAX_MODELS]),
        system=system,
        spool=spool,
        shed=max(0, len(counted) - _MAX_MODELS),
    )
    while whole.models and not _fits(whole):
        whole = replace(whole, models=whole.models[:-1], shed=whole.shed + 1)
    return whole


def _fits(message: Telemetry) -> bool:
    # The floor is set anew when a window is sent and may then take up to eight bytes more than now.
    try:
        encode_telemetry(replace(message, floor=2**53 - 1))
    except MessageError:
        return False
    return True


def _key(snapshot: CounterSnapshot) -> tuple[str, str, str]:
    return snapshot.key.name, snapshot.key.digest, snapshot.key.variant


def _counters(snapshot: CounterSnapshot) -> ModelCounters:
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
    )
