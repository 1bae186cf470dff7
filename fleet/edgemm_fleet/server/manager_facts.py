"""The parts of a running manager, put together for those who ask how it is."""

from __future__ import annotations

import time

from edgemm_fleet.clock import ManagerClock
from edgemm_fleet.health.health_facts import BrokerFacts, IngestFacts, WorkerFacts
from edgemm_fleet.health.hearing import Hearing
from edgemm_fleet.http.http_server import HttpServer
from edgemm_fleet.http.refusal_reasons import by_reason
from edgemm_fleet.server.services import FleetServices
from edgemm_fleet.worker import Worker

_MOST_QUIET_S = 60.0
"""Within so long each thread has done a step, however much there is to do."""


def hearing_of(manager: FleetServices, http: HttpServer, clock: ManagerClock) -> Hearing:
    """Return what the parts of a manager's process know."""
    return Hearing(
        counts=manager.ingest.counters.snapshot,
        broker=lambda: _broker(manager),
        ingest=lambda: _ingest(manager),
        outbox_behind_s=lambda: 0.0 if (outbox := manager.running.outbox) is None else outbox.behind_s(),
        tick_age_s=manager.running.ticker.quiet_s,
        workers=lambda: [_worker(one) for one in manager.running.workers],
        refused=lambda: by_reason(http.counts()),
        connections=http.connections,
        most_connections=http.most_connections,
        shed=lambda: (manager.shedding.messages, manager.shedding.bytes),
        shed_of=manager.shedding.of,
        cut_off=lambda: len(manager.shedding.cut_off()),
        clock_settled=lambda: clock.settled,
    )


def _broker(manager: FleetServices) -> BrokerFacts:
    url, link = manager.broker_settings.url, manager.running.link
    if link is None:
        return BrokerFacts(url=url, gone_s=0.0)
    return BrokerFacts(url=url, gone_s=link.gone_s(), turned_away=link.turned_away)


def _ingest(manager: FleetServices) -> IngestFacts:
    consumer = manager.running.consumer
    if consumer is None:
        return IngestFacts()
    progress = consumer.progress
    return IngestFacts(
        waiting=progress.waiting,
        waiting_bytes=consumer.waiting_bytes,
        behind_s=progress.behind_s(),
        lately=progress.batches.recent(now_s=time.monotonic()),
        batches=progress.batches,
    )


def _worker(worker: Worker) -> WorkerFacts:
    name = worker.name.removeprefix("edgemm-")
    return WorkerFacts(
        name=name,
        quiet_s=worker.quiet_s(),
        most_quiet_s=_MOST_QUIET_S,
        failing_s=worker.failing_s(),
        error=worker.error,
    )
