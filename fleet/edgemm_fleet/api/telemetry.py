"""Telemetry windows as the API shows them: the wire's one-letter fields under their names."""

from __future__ import annotations

from msgspec import Struct

from edgemm_fleet.store.records import TelemetryRecord


class ModelWindow(Struct, frozen=True, kw_only=True):
    """Counters since boot of one (model, digest, variant)."""

    name: str
    digest: str
    variant: str
    requests: int
    errors: int
    latency_sum_us: int
    latency_counts: tuple[int, ...]


class TelemetryWindow(Struct, frozen=True, kw_only=True):
    """One window of one device; `time_s` by the device's clock, `received_at` by the server's."""

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
    spool_waiting: int
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
        models=tuple(
            ModelWindow(
                name=model.name,
                digest=model.digest.hex(),
                variant=model.variant,
                requests=model.requests,
                errors=model.errors,
                latency_sum_us=model.latency_sum_us,
                latency_counts=model.latency_counts,
            )
            for model in sent.models
        ),
        temperature_c=sent.system.temperature_c,
        load_1m=sent.system.load_1m,
        memory_available_bytes=sent.system.memory_available_bytes,
        disk_free_bytes=sent.system.disk_free_bytes,
        rss_bytes=sent.system.rss_bytes,
        spool_waiting=sent.spool.waiting,
        spool_dropped=sent.spool.dropped,
    )
