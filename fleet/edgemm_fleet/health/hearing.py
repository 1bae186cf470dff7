"""The parts of the manager's process that know something of its health, as those who ask see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgemm_fleet.health.health_facts import BrokerFacts, IngestFacts, WorkerFacts
from edgemm_fleet.records.shed import Shed


@dataclass(frozen=True)
class Hearing:
    """What the manager's process knows, besides its database; without a process, all is well and nothing was heard."""

    counts: Callable[[], Mapping[str, int]] = dict
    """Messages since the process started, by what became of them: `received_event`, `refused_untrusted`, …"""
    broker: Callable[[], BrokerFacts] = BrokerFacts
    ingest: Callable[[], IngestFacts] = IngestFacts
    outbox_behind_s: Callable[[], float] = float
    tick_age_s: Callable[[], float] = float
    workers: Callable[[], Sequence[WorkerFacts]] = tuple
    refused: Callable[[], Mapping[str, int]] = dict
    """What the API's server has refused or given up since it started, by why: `slow_body`, `full_devices`, …"""
    connections: Callable[[], int] = int
    """Open connections of the API."""
    most_connections: int = 1
    shed: Callable[[], tuple[int, int]] = lambda: (0, 0)
    """(messages, bytes) that were thrown away of devices that sent more than their share."""
    shed_of: Callable[[str], Shed | None] = lambda _: None
    """What was thrown away of one device."""
    cut_off: Callable[[], int] = int
    """Devices that the broker does not let in for a while."""
    clock_settled: Callable[[], bool] = lambda: True

    def connected(self) -> bool:
        """Tell whether the manager has its connection to the broker."""
        return self.broker().gone_s is None
