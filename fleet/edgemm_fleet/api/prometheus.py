"""The manager and its fleet in the text format of Prometheus: as many lines for a million devices as for ten.

No label names a device, a rollout or a model; who it was is told by `devices list`, `rollout list` and the log. Names
follow Prometheus's conventions: units are seconds and bytes, counters end in `_total`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from edgemm import __version__
from edgemm.messages import Stream
from edgemm.states import RolloutState
from edgemm_fleet.health.examination import findings
from edgemm_fleet.health.health_facts import HealthFacts, WriteDistributions
from edgemm_fleet.health.health_findings import FindingName, healthy
from edgemm_fleet.health.hearing import Hearing
from edgemm_fleet.instruments import Distribution
from edgemm_fleet.records.expiries import Expiry
from edgemm_fleet.records.refused_messages import REFUSED

_ENDINGS = (
    ("certificate", "broker"),
    ("certificate", "mosquitto"),
    ("certificate", "server"),
    ("enrolment token", "any"),
    ("signature", "any model"),
    ("signature", "root"),
    ("signature", "targets"),
    ("token", "any"),
)
"""(kind, name) of what ends: of models and tokens, of which there may be many, the one that ends first."""


@dataclass(frozen=True)
class Exposed:
    """All that is told at one time."""

    fleet: str
    facts: HealthFacts
    hearing: Hearing
    writes: WriteDistributions


class FleetCollector(Collector):
    """Yields what Prometheus asks for."""

    def __init__(self, told: Exposed) -> None:
        self._told = told

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now."""
        told, facts = self._told, self._told.facts
        build = {"version": __version__, "fleet": told.fleet}
        yield InfoMetricFamily("edgemm_fleet_build", "Which edgemm serves which fleet.", value=build)
        yield from _health(facts)
        yield from _broker(facts)
        yield from _messages(told.hearing)
        yield from _ingest(facts)
        yield from _database(facts, told.writes)
        yield from _threads(facts)
        yield from _fleet(facts)
        yield from _ends(facts)
        yield _gauge("http_connections", "Open connections of the API.", facts.connections)
        help_text = "What the API has refused or given up since the manager started, by why."
        yield _counters("http_refused", help_text, "reason", told.hearing.refused())


def expose(told: Exposed) -> bytes:
    """Return all metrics as text, with those of the process."""
    registry = CollectorRegistry()
    registry.register(FleetCollector(told))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def _health(facts: HealthFacts) -> Iterator[Metric]:
    found = findings(facts)
    yield _gauge("healthy", "Whether nothing urgent is found, as `edgemm fleet status` tells.", healthy(found))
    names = {one.name for one in found}
    family = GaugeMetricFamily("edgemm_fleet_finding", "Whether something is found now, by its name.", labels=["name"])
    for name in FindingName:
        if name is not FindingName.MANAGER_DOWN:
            family.add_metric([name.value], name in names)
    yield family


def _broker(facts: HealthFacts) -> Iterator[Metric]:
    gone_s = facts.broker.gone_s
    yield _gauge("broker_connected", "Whether the manager hears the broker.", gone_s is None)
    yield _gauge("broker_gone_seconds", "For how long it has not heard it, 0 while it does.", gone_s or 0.0)


def _messages(hearing: Hearing) -> Iterator[Metric]:
    counts = hearing.counts()
    help_text = "Messages of devices since the manager started, by what became of them."
    yield _counters("messages", help_text, "result", counts)
    refused = {name.removeprefix(REFUSED): number for name, number in counts.items() if name.startswith(REFUSED)}
    help_text = "Messages of devices that were not taken since the manager started, by reason."
    yield _counters("refused_messages", help_text, "reason", refused)
    messages, size = hearing.shed()
    help_text = "of devices beyond their share, which were thrown away since the manager started."
    yield CounterMetricFamily("edgemm_fleet_shed_messages", f"Messages {help_text}", value=messages)
    yield CounterMetricFamily("edgemm_fleet_shed_bytes", f"Bytes {help_text}", value=size)


def _ingest(facts: HealthFacts) -> Iterator[Metric]:
    ingest = facts.ingest
    yield _gauge("ingest_waiting_messages", "Messages of devices that came and are not stored.", ingest.waiting)
    yield _gauge("ingest_waiting_bytes", "Bytes of messages in the queue.", ingest.waiting_bytes)
    yield _gauge("ingest_lag_seconds", "How long ago the message came that is stored next.", ingest.behind_s)
    yield _histogram("ingest_batch_messages", "Messages in each transaction of the ingest.", ingest.batches)
    ingested = dict.fromkeys(Stream, 0) | dict(facts.fleet.ingested)
    yield _counters("ingested", "Messages of devices that were stored.", "stream", ingested)


def _database(facts: HealthFacts, writes: WriteDistributions) -> Iterator[Metric]:
    database, disk = facts.database, facts.disk
    yield _histogram("database_wait_seconds", "What writes waited for their turn.", writes.waited)
    yield _histogram("database_write_seconds", "What writes took, up to their commit.", writes.worked)
    yield _histogram("database_commit_seconds", "What commits of writes took.", writes.committed)
    help_text = "For how long the present write has had its turn."
    yield _gauge("database_write_under_way_seconds", help_text, database.under_way_s)
    fails = database.failing_s is not None
    yield _gauge("database_failing", "Whether the database takes no reads, or no writes.", fails)
    yield _gauge("database_size_bytes", "Size of the database.", _or_nan(database.size_bytes))
    size, free = (None, None) if disk is None else (disk.size_bytes, disk.free_bytes)
    yield _gauge("disk_size_bytes", "Size of the fleet folder's file system.", _or_nan(size))
    yield _gauge("disk_free_bytes", "What is free on it.", _or_nan(free))


def _threads(facts: HealthFacts) -> Iterator[Metric]:
    yield _gauge("tick_age_seconds", "How long ago deadlines of rollouts were looked at last.", facts.tick_age_s)
    quiet = GaugeMetricFamily(
        "edgemm_fleet_worker_quiet_seconds", "How long ago a thread of the manager did a step last.", labels=["worker"]
    )
    failing = GaugeMetricFamily(
        "edgemm_fleet_worker_failing", "Whether the last step of a thread failed.", labels=["worker"]
    )
    for worker in facts.workers:
        quiet.add_metric([worker.name], worker.quiet_s)
        failing.add_metric([worker.name], worker.failing_s is not None)
    yield from (quiet, failing)
    help_text = "For how long something has all the time been on its way to the broker."
    yield _gauge("outbox_behind_seconds", help_text, facts.outbox_behind_s)


def _fleet(facts: HealthFacts) -> Iterator[Metric]:
    fleet = facts.fleet
    states = {"online": fleet.online, "offline": fleet.offline}
    yield _gauges("devices", "Devices that are enrolled.", "state", states)
    yield _gauge("devices_refusing", "Devices that refuse what they are told.", fleet.refusing)
    yield _gauge("devices_duplicate", "Devices that were ever there twice with one identity.", fleet.duplicates)
    yield _gauge("devices_cut_off", "Devices that the broker does not let in for a while.", fleet.cut_off)
    yield _gauge("outbox_waiting", "Devices of which the broker has yet to be given something.", fleet.untold)
    yield _gauge("unreadable", "Entries of the database that cannot be read, and are passed over.", fleet.unreadable)
    rollouts = {state.value: 0 for state in RolloutState} | dict(fleet.rollouts)
    yield _gauges("rollouts", "Rollouts by state.", "state", rollouts)


def _ends(facts: HealthFacts) -> Iterator[Metric]:
    first = dict.fromkeys(_ENDINGS, math.inf)
    for one in facts.endings:
        key = _ending_key(one)
        first[key] = min(first[key], one.ends_at)
    family = GaugeMetricFamily(
        "edgemm_fleet_ends_timestamp_seconds",
        "When a signature, certificate or token ends, the first of its kind; +Inf where there is none.",
        labels=["kind", "name"],
    )
    for (kind, name), at in sorted(first.items()):
        family.add_metric([kind, name], at)
    signed = {"snapshot": math.inf, "timestamp": math.inf} | {one.name: one.ends_at for one in facts.signed}
    for role, at in signed.items():
        family.add_metric(["signature", role], at)
    yield family
    near = sum(one.is_near(facts.now) for one in facts.endings)
    yield _gauge("ending_soon", "What ended or ends within 30 days: signatures, certificates, tokens.", near)


def _ending_key(one: Expiry) -> tuple[str, str]:
    key = (one.kind, one.name)
    if key in _ENDINGS:
        return key
    return (one.kind, "any model") if one.kind == "signature" else (one.kind, "any")


def _or_nan(value: int | None) -> float:
    return math.nan if value is None else float(value)


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"edgemm_fleet_{name}", help_text, value=float(value))


def _gauges(name: str, help_text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(f"edgemm_fleet_{name}", help_text, labels=[label])
    return _filled(family, values.items())


def _counters(name: str, help_text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"edgemm_fleet_{name}", help_text, labels=[label])
    return _filled(family, values.items())


def _filled(family: CounterMetricFamily | GaugeMetricFamily, values: Iterable[tuple[str, int]]) -> Metric:
    for key, number in sorted(values):
        family.add_metric([key], number)
    return family


def _histogram(name: str, help_text: str, found: Distribution) -> Metric:
    buckets, total = found.buckets()
    return HistogramMetricFamily(f"edgemm_fleet_{name}", help_text, buckets=buckets, sum_value=total)
