"""One-off actions of a device: asked for, and what came of them."""

from __future__ import annotations

import secrets

from edgemm.errors import NotFoundError
from edgemm.messages import Action
from edgemm_fleet.api.context import FleetState
from edgemm_fleet.api.messages import ActionRequest, Nothing, PageQuery
from edgemm_fleet.api.rights import Right
from edgemm_fleet.api.routes import Call, Route
from edgemm_fleet.records.records import ActionRecord, Page
from edgemm_fleet.store import actions, devices


def add_action(state: FleetState, call: Call[ActionRequest, Nothing]) -> ActionRecord:
    """Ask a device to do something once; the same id again is the same request."""
    asked = call.body
    action = Action(id=asked.id or secrets.token_hex(8), kind=asked.kind.value, model=asked.model)
    return state.actions.add(call.path["device"], action, actor=call.caller.actor, now=call.now)


def list_actions(state: FleetState, call: Call[Nothing, PageQuery]) -> Page[ActionRecord]:
    """List what a device was asked to do and what came of it, newest first."""
    with state.store.read() as tx:
        device = devices.get_live(tx, call.path["device"])
        return actions.page(tx, device.id, after=call.query.after, limit=call.query.limit)


def get_action(state: FleetState, call: Call[Nothing, Nothing]) -> ActionRecord:
    """Show one action of a device."""
    with state.store.read() as tx:
        device = devices.get_live(tx, call.path["device"])
        found = actions.find(tx, call.path["action"])
    if found is None or found.device != device.id:
        raise NotFoundError(f"device {device.id}: no action {call.path['action'][:80]!r}")
    return found


_ACTIONS = "/api/v1/devices/<device>/actions"
ROUTES = (
    Route("POST", _ACTIONS, add_action, Right.OPERATE, ActionRecord, body=ActionRequest),
    Route("GET", _ACTIONS, list_actions, Right.READ, Page[ActionRecord], query=PageQuery),
    Route("GET", f"{_ACTIONS}/<action>", get_action, Right.READ, ActionRecord),
)
