"""The message `telemetry`: one window of counters and gauges. The keys on the wire are one letter long."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from edgemm.bundle.manifest import ModelName
from edgemm.messages.scalars import Natural, Positive, Short

LATENCY_EDGES_S = tuple(50e-6 * 2 ** (i / 2) for i in range(32))
"""Upper edges of the latency buckets, 50 µs to 2.3 s by factors of √2; one more bucket counts what is above."""


ClassCounts = tuple[Natural, Natural, Natural, Natural]


class ShadowOutput(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """How a shadow's answers in one output differ from the active model's.

    A class-like output has `rows` and, of them, `agreed`; and by class (index, agreed, named by the active model only,
    by the shadow only), the classes with the most rows first: those that did not fit are left out. Any other output
    has `errors`, counts by how far the values are apart as a share of the range (upper edges 10^(-6 + i/2) for i = 0
    to 14, one more for what is above, zeros at the end left out), and how many were `above` and `below`.
    """

    name: Short = msgspec.field(name="o")
    rows: Natural = msgspec.field(name="n", default=0)
    agreed: Natural = msgspec.field(name="a", default=0)
    classes: Annotated[tuple[ClassCounts, ...], Meta(max_length=257)] = msgspec.field(name="c", default=())
    errors: Annotated[tuple[Natural, ...], Meta(max_length=16)] = msgspec.field(name="h", default=())
    above: Natural = msgspec.field(name="u", default=0)
    below: Natural = msgspec.field(name="b", default=0)


class ShadowCounters(Struct, frozen=True, kw_only=True, gc=False):
    """Counters since boot of one shadow beside one (model, digest, variant); they only rise.

    Of the `sampled` requests it answered `compared`, failed on `errors` and was not asked about `dropped`.
    """

    digest: Annotated[bytes, Meta(min_length=32, max_length=32)] = msgspec.field(name="d")
    variant: Short = msgspec.field(name="v")
    sampled: Natural = msgspec.field(name="n")
    compared: Natural = msgspec.field(name="c")
    errors: Natural = msgspec.field(name="e")
    dropped: Natural = msgspec.field(name="x")
    crashes: Natural = msgspec.field(name="k")
    outputs: Annotated[tuple[ShadowOutput, ...], Meta(max_length=64)] = msgspec.field(name="o", default=())


class LabelCounters(Struct, frozen=True, kw_only=True, gc=False):
    """Late labels since boot that met a prediction of one (model, digest, variant), and those that agreed with it."""

    matched: Natural = msgspec.field(name="m")
    correct: Natural = msgspec.field(name="c")


class ModelCounters(Struct, frozen=True, kw_only=True, gc=False):
    """Counters of one (model, digest, variant) since boot; they only rise."""

    name: ModelName = msgspec.field(name="m")
    digest: Annotated[bytes, Meta(min_length=32, max_length=32)] = msgspec.field(name="d")
    variant: Short = msgspec.field(name="v")
    requests: Natural = msgspec.field(name="r")
    errors: Natural = msgspec.field(name="e")
    latency_sum_us: Natural = msgspec.field(name="s")
    latency_counts: Annotated[tuple[Natural, ...], Meta(max_length=len(LATENCY_EDGES_S) + 1)] = msgspec.field(name="l")
    """One count a bucket of `LATENCY_EDGES_S`; zeros at the end are left out."""
    shadows: Annotated[tuple[ShadowCounters, ...], Meta(max_length=64)] | UnsetType = msgspec.field(
        name="w", default=UNSET
    )
    labels: LabelCounters | UnsetType = msgspec.field(name="y", default=UNSET)


class SystemGauges(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """How the box is; None, and left out, where it cannot be read."""

    temperature_c: float | None = msgspec.field(name="t", default=None)
    load_1m: float | None = msgspec.field(name="l", default=None)
    memory_available_bytes: Natural | None = msgspec.field(name="m", default=None)
    disk_free_bytes: Natural | None = msgspec.field(name="d", default=None)
    rss_bytes: Natural | None = msgspec.field(name="r", default=None)
    throttled_bits: Natural | None = msgspec.field(name="p", default=None)
    """As the Raspberry Pi's firmware tells them: 0 undervoltage, 1 frequency capped, 2 throttled, 3 soft temperature
    limit; 16 to 19 the same since the machine started."""
    storage_life_used_percent: Natural | None = msgspec.field(name="w", default=None)
    """Of the most worn eMMC, in steps of 10 and rounded up; 110 is beyond its life."""


class SpoolGauges(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """How much waits on the device for an acknowledgement, and how much was dropped and written since boot.

    What may be None is left out by devices that do not count it.
    """

    waiting: Natural = msgspec.field(name="w")
    dropped: Natural = msgspec.field(name="x")
    unwritten: Natural | None = msgspec.field(name="o", default=None)
    """Of `dropped`, those that neither the day's budget of writes nor memory had room for."""
    written_bytes: Natural | None = msgspec.field(name="b", default=None)
    """What the spool has handed to storage, in blocks of 4,096 bytes."""


class Telemetry(Struct, frozen=True, kw_only=True, gc=False):
    """One window: cumulative counters since boot, so that a lost window costs resolution and no data.

    Deduplicated by (device, boot, "telemetry", sequence); `floor` as in `Event`.
    """

    v: Literal[1] = 1
    boot: Annotated[bytes, Meta(min_length=8, max_length=8)] = msgspec.field(name="b")
    sequence: Positive = msgspec.field(name="n")
    floor: Positive = msgspec.field(name="f")
    time_s: Natural = msgspec.field(name="t")
    uptime_s: Natural = msgspec.field(name="u")
    models: Annotated[tuple[ModelCounters, ...], Meta(max_length=64)] = msgspec.field(name="m", default=())
    system: SystemGauges = msgspec.field(name="s", default=SystemGauges())
    spool: SpoolGauges = msgspec.field(name="q")
    shed: Natural = msgspec.field(name="h", default=0)
    """Models whose counters did not fit into `MAX_TELEMETRY_BYTES` this time."""
    unmatched_labels: Natural | UnsetType = msgspec.field(name="y", default=UNSET)
    """Late labels since boot for which no prediction waited; left out where none ever came."""
