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
from edgemm_fleet.records.records import AuditRecord, Page
from edgemm_fleet.store import audit, devices, models, rollouts


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
    """Tell how the fleet is, and what ends soon."""
    with state.store.read() as tx:
        present, rolling = devices.counts(tx), rollouts.state_counts(tx)
    return FleetStatus(
        fleet=state.fleet,
        version=__version__,
        public_url=state.public_url,
        broker_connected=state.hearing.connected(),
        online=present.get(True, 0),
        offline=present.get(False, 0),
        rollouts={one.value: number for one, number in rolling.items() if number},
        ending=tuple(state.expiries.near(now=call.now)),
    )


def get_overview(state: FleetState, call: Call[Nothing, Nothing]) -> Overview:
    """Return the numbers of the whole fleet, and the time here."""
    with state.store.read() as tx:
        online = devices.counts(tx)
        known_models, versions = models.counts(tx)
        by_state = rollouts.state_counts(tx)
    return Overview(
        now=call.now,
        devices_online=online[True],
        devices_offline=online[False],
        models=known_models,
        versions=versions,
        rollouts={state.value: number for state, number in by_state.items()},
    )


def get_metrics(state: FleetState, call: Call[Nothing, Nothing]) -> Response:
    """Return what the fleet looks like now, in the text format of Prometheus."""
    ending = state.expiries.all(now=call.now)
    return Response(
        prometheus.expose(state.store, fleet=state.fleet, hearing=state.hearing, ending=ending, now=call.now),
        content_type=CONTENT_TYPE_LATEST,
    )


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
