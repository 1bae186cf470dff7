"""The routes about the server itself: health, the caller's identity, metrics and the audit log."""

from __future__ import annotations

from flask import Response
from prometheus_client import CONTENT_TYPE_LATEST

from edgemm import __version__
from edgemm_fleet.api import prometheus
from edgemm_fleet.api.context import FleetState
from edgemm_fleet.api.messages import FleetStatus, Health, Me, Nothing, Overview, PageQuery
from edgemm_fleet.api.rights import Right
from edgemm_fleet.api.routes import Call, Route
from edgemm_fleet.health.examination import findings
from edgemm_fleet.health.health_findings import headline, healthy
from edgemm_fleet.health.measures import measures_of
from edgemm_fleet.records import expiries
from edgemm_fleet.records.records import AuditRecord, Page
from edgemm_fleet.store import audit, models, rollouts


def get_health(state: FleetState, call: Call[Nothing, Nothing]) -> Health:  # noqa: ARG001 - every handler is called alike
    """Tell that the server answers and its database can be read."""
    with state.store.read():
        return Health()


def get_me(state: FleetState, call: Call[Nothing, Nothing]) -> Me:
    """Tell whose token this is."""
    person = call.caller.person
    assert person is not None
    return Me(
        fleet=state.fleet,
        person=person.person,
        role=person.role,
        expires_at=person.expires_at,
        version=__version__,
        root_version=state.repository.root.signed.version,
    )


def get_status(state: FleetState, call: Call[Nothing, Nothing]) -> FleetStatus:
    """Tell how the manager and its fleet are: what is wrong or limits it, in words, and what ends soon."""
    facts = state.facts(call.now)
    found = findings(facts)
    with state.store.read() as tx:
        rolling = rollouts.state_counts(tx)
    return FleetStatus(
        fleet=state.fleet,
        version=__version__,
        public_url=state.public_url,
        broker_connected=facts.broker.gone_s is None,
        online=facts.fleet.online,
        offline=facts.fleet.offline,
        rollouts={one.value: number for one, number in rolling.items() if number},
        ending=tuple(expiries.near(facts.endings, now=call.now)),
        healthy=healthy(found),
        findings=tuple(found),
        measures=measures_of(facts),
    )


def get_overview(state: FleetState, call: Call[Nothing, Nothing]) -> Overview:
    """Return the numbers of the whole fleet, the manager's health in one line, and the time here."""
    facts = state.facts(call.now)
    found = findings(facts)
    with state.store.read() as tx:
        known_models, versions = models.counts(tx)
        by_state = rollouts.state_counts(tx)
    return Overview(
        now=call.now,
        devices_online=facts.fleet.online,
        devices_offline=facts.fleet.offline,
        models=known_models,
        versions=versions,
        rollouts={state.value: number for state, number in by_state.items()},
        healthy=healthy(found),
        health=headline(found),
    )


def get_metrics(state: FleetState, call: Call[Nothing, Nothing]) -> Response:
    """Return what the manager and its fleet are like now, in Prometheus's text format; as many lines for any fleet."""
    vitals = state.vitals
    told = prometheus.Exposed(state.fleet, state.facts(call.now), vitals.hearing, vitals.writes())
    return Response(prometheus.expose(told), content_type=CONTENT_TYPE_LATEST)


def list_audit(state: FleetState, call: Call[Nothing, PageQuery]) -> Page[AuditRecord]:
    """List who did what, newest first."""
    with state.store.read() as tx:
        return audit.page(tx, after=call.query.after, limit=call.query.limit)


ROUTES = (
    Route("GET", "/api/v1/health", get_health, Right.PUBLIC, Health),
    Route("GET", "/api/v1/me", get_me, Right.READ, Me),
    Route("GET", "/api/v1/status", get_status, Right.READ, FleetStatus),
    Route("GET", "/api/v1/overview", get_overview, Right.READ, Overview),
    Route("GET", "/metrics", get_metrics, Right.READ, "text/plain"),
    Route("GET", "/api/v1/audit", list_audit, Right.ADMIN, Page[AuditRecord], query=PageQuery),
)
