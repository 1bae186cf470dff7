"""The table of all routes of the API, resource by resource."""

from __future__ import annotations

from flask import Response, json

from edgemm_fleet.api import (
    actions,
    blobs,
    devices,
    enrolment,
    enrolment_tokens,
    models,
    openapi,
    person_tokens,
    rollouts,
    shadows,
    status,
    tuf,
)
from edgemm_fleet.api.context import FleetState
from edgemm_fleet.api.messages import Nothing
from edgemm_fleet.api.rights import Right
from edgemm_fleet.api.routes import Call, Route


def routes() -> tuple[Route, ...]:
    """Return the table; the document that describes it is part of it."""
    return (
        *status.ROUTES,
        *enrolment.ROUTES,
        *enrolment_tokens.ROUTES,
        *person_tokens.ROUTES,
        *devices.ROUTES,
        *actions.ROUTES,
        *models.ROUTES,
        *shadows.ROUTES,
        *blobs.ROUTES,
        *tuf.ROUTES,
        *rollouts.ROUTES,
        Route("GET", "/api/v1/openapi.json", get_openapi, Right.READ, "application/json"),
    )


def get_openapi(state: FleetState, call: Call[Nothing, Nothing]) -> Response:  # noqa: ARG001 - a handler
    """Return this document."""
    return Response(json.dumps(openapi.document(routes(), fleet=state.fleet)), mimetype="application/json")
