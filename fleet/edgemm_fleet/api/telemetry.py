"""The API's view of telemetry windows: the wire's one-letter fields under full names."""

from __future__ import annotations

from msgspec import UNSET, Struct

from edgemm.messages import ModelCounters, ShadowCounters, ShadowOutput
from edgemm_fleet.records.records import HealthRecord, TelemetryRecord

_HOUR_S = 3600


class ClassRows(Struct, frozen=True, kw_only=True):
    """Rows of one class: on which both agreed, or that the active model or the shadow alone named."""

    index: int
    agreed: int
    active_only: int
    shadow_only: int


class OutputAgreement(Struct, frozen=True, kw_only=True):
    """How a shadow's answers in one output differ; fields as in the wire's `ShadowOutput`.

    `classes` may lack the rarest, where the device had no room for them; `rows` and `agreed` count all.
    """

    name: str
    rows: int
    agreed: int
    classes: tuple[ClassRows, ...]
    errors: tuple[int, ...]
    above: int
    below: int


class ShadowWindow(Struct, frozen=True, kw_only=True):
    """Counters since boot of one shadow beside one (model, digest, variant)."""

    digest: str
    variant: str
    sampled: int
    compared: int
    errors: int
    dropped: int
    crashes: int
    outputs: tuple[OutputAgreement, ...]


class LabelWindow(Struct, frozen=True, kw_only=True):
    """Late labels since boot that met a prediction, and those that agreed with it."""

    matched: int
    correct: int


class ModelWindow(Struct, frozen=True, kw_only=True):
    """Counters since boot of one (model, digest, variant)."""

    name: str
    digest: str
    variant: str
    requests: int
    errors: int
    latency_sum_us: int
    latency_counts: tuple[int, ...]
    shadows: tuple[ShadowWindow, ...] = ()
    labels: LabelWindow | None = None


class TelemetryWindow(Struct, frozen=True, kw_only=True):
    """One window of one device; `time_s` by the device's clock, `received_at` by the server's.

    Gauges are null where the device cannot read or does not count them; `throttled_bits`, `storage_life_used_percent`
    and those of the spool as on the wire.
    """

    id: int
    received_at: float
    boot: str
    sequence: int
    time_s: int
    uptime_s: int
    models: tuple[ModelWindow, ...]
    temperature_c: float | None
    load_1m: float | None
    memory_available_bytes: int | None
    disk_free_bytes: int | None
    rss_bytes: int | None
    throttled_bits: int | None
    storage_life_used_percent: int | None
    spool_waiting: int
    spool_dropped: int
    spool_unwritten: int | None
    spool_written_bytes: int | None
    models_shed: int
    unmatched_labels: int


class HealthHour(Struct, frozen=True, kw_only=True):
    """How a device was in one hour: counters since its boot, and gauges, of the first window of it that is kept.

    `started_at` is the beginning of the hour by the server's clock; gauges are null where the device cannot read them.
    """

    started_at: float
    boot: str
    sequence: int
    uptime_s: int
    requests: int
    errors: int
    temperature_c: float | None
    memory_available_bytes: int | None
    disk_free_bytes: int | None
    spool_dropped: int


def window(record: TelemetryRecord) -> TelemetryWindow:
    """Return a stored window as the API shows it."""
    sent = record.telemetry
    return TelemetryWindow(
        id=record.id,
        received_at=record.received_at,
        boot=sent.boot.hex(),
        sequence=sent.sequence,
        time_s=sent.time_s,
        uptime_s=sent.uptime_s,
        models=tuple(map(_model, sent.models)),
        temperature_c=sent.system.temperature_c,
        load_1m=sent.system.load_1m,
        memory_available_bytes=sent.system.memory_available_bytes,
        disk_free_bytes=sent.system.disk_free_bytes,
        rss_bytes=sent.system.rss_bytes,
        throttled_bits=sent.system.throttled_bits,
        storage_life_used_percent=sent.system.storage_life_used_percent,
        spool_waiting=sent.spool.waiting,
        spool_dropped=sent.spool.dropped,
        spool_unwritten=sent.spool.unwritten,
        spool_written_bytes=sent.spool.written_bytes,
        models_shed=sent.shed,
        unmatched_labels=0 if sent.unmatched_labels is UNSET else sent.unmatched_labels,
    )


def health_hour(record: HealthRecord) -> HealthHour:
    """Return the row of an hour as the API shows it."""
    return HealthHour(
        started_at=float(record.hour * _HOUR_S),
        boot=record.boot,
        sequence=record.sequence,
        uptime_s=record.uptime_s,
        requests=record.requests,
        errors=record.errors,
        temperature_c=record.temperature_c,
        memory_available_bytes=record.memory_available_bytes,
        disk_free_bytes=record.disk_free_bytes,
        spool_dropped=record.dropped,
    )


def shadow_windows(sent: ModelCounters) -> tuple[ShadowWindow, ...]:
    """Return what a device told of the shadows beside one version of a model."""
    return () if sent.shadows is UNSET else tuple(map(_shadow, sent.shadows))


def _model(sent: ModelCounters) -> ModelWindow:
    labels = sent.labels
    return ModelWindow(
        name=sent.name,
        digest=sent.digest.hex(),
        variant=sent.variant,
        requests=sent.requests,
        errors=sent.errors,
        latency_sum_us=sent.latency_sum_us,
        latency_counts=sent.latency_counts,
        shadows=shadow_windows(sent),
        labels=None if labels is UNSET else LabelWindow(matched=labels.matched, correct=labels.correct),
    )


def _shadow(sent: ShadowCounters) -> ShadowWindow:
    return ShadowWindow(
        digest=sent.digest.hex(),
        variant=sent.variant,
        sampled=sent.sampled,
        compared=sent.compared,
        errors=sent.errors,
        dropped=sent.dropped,
        crashes=sent.crashes,
        outputs=tuple(map(_output, sent.outputs)),
    )


def _output(sent: ShadowOutput) -> OutputAgreement:
    return OutputAgreement(
        name=sent.name,
        rows=sent.rows,
        agreed=sent.agreed,
        classes=tuple(
            ClassRows(index=index, agreed=agreed, active_only=active_only, shadow_only=shadow_only)
            for index, agreed, active_only, shadow_only in sent.classes
        ),
        errors=sent.errors,
        above=sent.above,
        below=sent.below,
    )
