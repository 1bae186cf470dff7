"""The measures that the status tells beside its findings: what waits, how long writes take, and what is left."""

from __future__ import annotations

from msgspec import Struct

from edgemm_fleet.health.health_facts import HealthFacts


class ManagerMeasures(Struct, frozen=True, kw_only=True):
    """How busy the manager is: seconds and bytes; of writes, means of the last half minute to minute.

    `devices_refusing` and `outbox_waiting` are counted up to 10,000.
    """

    database: str
    """`sqlite` or `postgresql`."""
    database_size_bytes: int | None
    commit_s: float
    write_s: float
    write_wait_s: float
    writer_share: float
    """The part of the time in which somebody wrote, 0 to 1: what limits a manager first comes near to 1."""
    ingest_waiting: int
    ingest_lag_s: float
    ingest_per_s: float
    outbox_waiting: int
    outbox_behind_s: float
    broker_gone_s: float | None
    tick_age_s: float
    disk_size_bytes: int | None
    disk_free_bytes: int | None
    http_connections: int
    devices_refusing: int


def measures_of(facts: HealthFacts) -> ManagerMeasures:
    """Return what a status tells of facts."""
    database, ingest, disk = facts.database, facts.ingest, facts.disk
    return ManagerMeasures(
        database="sqlite" if database.is_file else "postgresql",
        database_size_bytes=database.size_bytes,
        commit_s=database.commits.mean,
        write_s=database.work.mean,
        write_wait_s=database.waits.mean,
        writer_share=database.writer_share,
        ingest_waiting=ingest.waiting,
        ingest_lag_s=ingest.behind_s,
        ingest_per_s=ingest.lately.rate,
        outbox_waiting=facts.fleet.untold,
        outbox_behind_s=facts.outbox_behind_s,
        broker_gone_s=facts.broker.gone_s,
        tick_age_s=facts.tick_age_s,
        disk_size_bytes=None if disk is None else disk.size_bytes,
        disk_free_bytes=None if disk is None else disk.free_bytes,
        http_connections=facts.connections,
        devices_refusing=facts.fleet.refusing,
    )
