"""The fleet in the text format of Prometheus: read from the database at each scrape, and from the running ingest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from edgemm import __version__
from edgemm_fleet.records.expiries import Expiry
from edgemm_fleet.records.refused_messages import REFUSED
from edgemm_fleet.records.shed import Shed
from edgemm_fleet.store import devices, paging, rollouts, streams
from edgemm_fleet.store.database import Store, Transaction
from edgemm_fleet.store.quarantine import Quarantine

_MOST_SHED = 100
_MOST_DUPLICATES = 1000


@dataclass(frozen=True)
class Hearing:
    """What the manager's process knows of the way to its devices, besides its database."""

    counts: Callable[[], Mapping[str, int]] = dict
    """Messages since the process started, by what became of them: `received_event`, `refused_untrusted`, …"""
    connected: Callable[[], bool] = bool
    """Whether the manager has its connection to the broker."""
    refused: Callable[[], Mapping[str, int]] = dict
    """What the API's server has refused or given up since it started, by why: `slow_body`, `full_devices`, …"""
    connections: Callable[[], int] = int
    """Open connections of the API."""
    shed: Callable[[], Sequence[Shed]] = list
    """What was thrown away of devices that sent more than their share, the latest last."""
    shed_of: Callable[[str], Shed | None] = lambda _: None
    """The same of one device."""


class FleetCollector(Collector):
    """Reads the database and yields what Prometheus asks for."""

    def __init__(
        self, store: Store, *, fleet: str, hearing: Hearing, ending: Sequence[Expiry] = (), now: float = 0.0
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._hearing = hearing
        self._ending, self._now = ending, now

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now."""
        build = {"version": __version__, "fleet": self._fleet}
        yield InfoMetricFamily("edgemm_fleet_build", "Which edgemm serves which fleet.", value=build)
        yield GaugeMetricFamily(
            "edgemm_fleet_broker_connected", "Whether the manager hears the broker.", value=self._hearing.connected()
        )
        yield _heard(self._hearing.counts())
        yield GaugeMetricFamily(
            "edgemm_fleet_http_connections", "Open connections of the API.", value=self._hearing.connections()
        )
        yield _refused_requests(self._hearing.refused())
        yield from _shed(self._hearing.shed())
        yield _refused(self._hearing.counts())
        yield _ends(self._ending)
        yield GaugeMetricFamily(
            "edgemm_fleet_ending_soon",
            "What ended or ends within 30 days: signatures, certificates, tokens.",
            value=sum(one.is_near(self._now) for one in self._ending),
        )
        with self._store.read() as tx:
            yield _devices(tx)
            yield _last_seen(tx)
            yield _duplicates(tx)
            yield _rollouts(tx)
            yield _ingested(tx)
        yield _unreadable(self._store.quarantine)


def expose(store: Store, *, fleet: str, hearing: Hearing, ending: Sequence[Expiry] = (), now: float = 0.0) -> bytes:
    """Return all metrics as text; `ending` is what ends, as of `now`."""
    registry = CollectorRegistry()
    registry.register(FleetCollector(store, fleet=fleet, hearing=hearing, ending=ending, now=now))
    return generate_latest(registry)


def _ends(endings: Sequence[Expiry]) -> Metric:
    family = GaugeMetricFamily(
        "edgemm_fleet_ends_timestamp_seconds",
        "When a signature or certificate ends; a token, where that is within 30 days.",
        labels=["kind", "name"],
    )
    for one in endings:
        family.add_metric([one.kind, one.name], one.ends_at)
    return family


def _heard(counts: Mapping[str, int]) -> Metric:
    help_text = "Messages of devices since the manager started, by what became of them."
    family = CounterMetricFamily("edgemm_fleet_messages", help_text, labels=["result"])
    for result, number in sorted(counts.items()):
        family.add_metric([result], number)
    return family


def _refused_requests(counts: Mapping[str, int]) -> Metric:
    help_text = "What the API has refused or given up since the manager started, by why."
    family = CounterMetricFamily("edgemm_fleet_http_refused", help_text, labels=["reason"])
    for reason, number in sorted(counts.items()):
        family.add_metric([reason], number)
    return family


def _shed(found: Sequence[Shed]) -> Iterator[Metric]:
    """Tell of devices that were shed: those that it happened to last, by name."""
    messages = CounterMetricFamily(
        "edgemm_fleet_shed_messages",
        "Messages of a device beyond its share, which were thrown away.",
        labels=["device"],
    )
    size = CounterMetricFamily(
        "edgemm_fleet_shed_bytes", "Bytes of a device beyond its share, which were thrown away.", labels=["device"]
    )
    cut = GaugeMetricFamily(
        "edgemm_fleet_device_cut_off_until_timestamp_seconds",
        "Until when the broker does not let a device in that sent many times its share.",
        labels=["device"],
    )
    for shed in found[-_MOST_SHED:]:
        messages.add_metric([shed.device], shed.messages)
        size.add_metric([shed.device], shed.bytes)
        if shed.cut_until is not None:
            cut.add_metric([shed.device], shed.cut_until)
    yield from (messages, size, cut)


def _duplicates(tx: Transaction) -> Metric:
    family = GaugeMetricFamily(
        "edgemm_fleet_device_duplicate_timestamp_seconds",
        "When two live devices last had one identity, as those of a cloned card have.",
        labels=["device"],
    )
    for device, at in devices.duplicates(tx, limit=_MOST_DUPLICATES):
        family.add_metric([device], at)
    return family


def _refused(counts: Mapping[str, int]) -> Metric:
    help_text = "Messages of devices that were not taken since the manager started, by reason."
    family = CounterMetricFamily("edgemm_fleet_refused_messages", help_text, labels=["reason"])
    for name, number in sorted(counts.items()):
        if (reason := name.removeprefix(REFUSED)) != name:
            family.add_metric([reason], number)
    return family


def _unreadable(quarantine: Quarantine) -> Metric:
    help_text = "What the database has of a device, or as a rollout, and cannot be read: it is passed over."
    family = GaugeMetricFamily("edgemm_fleet_unreadable", help_text, labels=["of", "part"])
    for name, part in quarantine.parts():
        family.add_metric([name, part], 1)
    return family


def _devices(tx: Transaction) -> Metric:
    family = GaugeMetricFamily("edgemm_fleet_devices", "Devices that are enrolled.", labels=["state"])
    for online, number in devices.counts(tx).items():
        family.add_metric(["online" if online else "offline"], number)
    return family


def _last_seen(tx: Transaction) -> Metric:
    family = GaugeMetricFamily(
        "edgemm_fleet_device_last_seen_timestamp_seconds", "When a device was last heard of.", labels=["device"]
    )
    after, more = "", True
    while more:
        part = devices.last_seen(tx, after=after, limit=paging.MAX_LIMIT)
        for device, at in part:
            if at is not None:
                family.add_metric([device], at)
        after, more = (part[-1][0], len(part) == paging.MAX_LIMIT) if part else ("", False)
    return family


def _rollouts(tx: Transaction) -> Metric:
    family = GaugeMetricFamily("edgemm_fleet_rollouts", "Rollouts by state.", labels=["state"])
    for state, number in rollouts.state_counts(tx).items():
        family.add_metric([state.value], number)
    return family


def _ingested(tx: Transaction) -> Metric:
    family = CounterMetricFamily("edgemm_fleet_ingested", "Messages of devices that were stored.", labels=["stream"])
    for stream, number in streams.received(tx).items():
        family.add_metric([stream.value], number)
    return family
