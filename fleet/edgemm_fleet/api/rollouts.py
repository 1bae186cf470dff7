"""The routes for rollouts: draft, preview, start, pause, resume, go on, halt, roll back and cancel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from msgspec.structs import replace

from edgemm.errors import BadRequestError
from edgemm.messages import Reported
from edgemm_fleet.api.context import FleetState
from edgemm_fleet.api.messages import (
    MembersQuery,
    NextRequest,
    Nothing,
    PageQuery,
    PauseRequest,
    Preview,
    ReasonRequest,
    RolloutDetail,
    RolloutRequest,
)
from edgemm_fleet.api.preview import check_installable, preview
from edgemm_fleet.api.rights import Right
from edgemm_fleet.api.routes import Call, Route
from edgemm_fleet.records.members import Member, MemberState
from edgemm_fleet.records.progress import Rollout
from edgemm_fleet.records.records import Page
from edgemm_fleet.records.rollout_plan import RolloutPlan
from edgemm_fleet.rollout import preparing
from edgemm_fleet.store import devices, models, reported, rollouts
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.dialects.time_limit import soon

_AT_ONCE = 500
_PREVIEWED = 5000
"""Devices that a preview looks at."""
_LONGEST_S = 30.0


def create_rollout(state: FleetState, call: Call[RolloutRequest, Nothing]) -> Rollout:
    """Draft a rollout of a published version; nothing happens until it is started."""
    request = replace(call.body, selector=call.body.selector.checked(model=call.body.model))
    with state.store.read() as tx:
        version = models.get_offered(tx, request.model, request.version)
    manifest = state.repository.manifest(request.model, request.version)
    if request.variants != "auto":
        known = [variant.id for variant in manifest.variants]
        if unknown := set(request.variants) - set(known):
            raise BadRequestError(f"variant {min(unknown)!r}: {request.model} {request.version} has {', '.join(known)}")
    try:
        plan = request.plan(version.digest)
    except ValueError as err:
        raise BadRequestError(f"rollout: {err}") from err
    with state.store.read() as tx:
        check_installable(plan, manifest, _reports(tx, plan, now=call.now))
    return state.rollouts.create(plan, actor=call.caller.actor, now=call.now)


def _reports(tx: Transaction, plan: RolloutPlan, *, now: float) -> Iterator[list[Reported | None]]:
    """Yield the newest reports of the devices that match, None: there is none, some at a time."""
    matching = (one.id for one in devices.matching(tx, plan.selector, model=plan.model, now=now))
    while ids := list(islice(matching, _AT_ONCE)):
        reports = reported.of(tx, ids)
        yield [reports[device].reported if device in reports else None for device in ids]


def list_rollouts(state: FleetState, call: Call[Nothing, PageQuery]) -> Page[Rollout]:
    """List the rollouts, newest first."""
    with state.store.read() as tx:
        return rollouts.page(tx, after=call.query.after, limit=call.query.limit)


def get_rollout(state: FleetState, call: Call[Nothing, Nothing]) -> RolloutDetail:
    """Show a rollout, and how many members of each group are in which state."""
    with state.store.read() as tx:
        return _detail(tx, rollouts.get(tx, call.path["rollout"]))


def list_members(state: FleetState, call: Call[Nothing, MembersQuery]) -> Page[Member]:
    """List a rollout's members by device; those in one state."""
    with state.store.read() as tx:
        rollout = rollouts.get(tx, call.path["rollout"])
        return rollouts.page_members(
            tx, rollout.id, state=call.query.state, after=call.query.after, limit=call.query.limit
        )


def preview_rollout(state: FleetState, call: Call[Nothing, Nothing]) -> Preview:
    """Tell how many devices a rollout would touch if it started now, and which first, and how many bytes they fetch."""
    with state.store.read() as tx, soon(tx, seconds=_LONGEST_S):
        rollout = rollouts.get(tx, call.path["rollout"])
        choice = preparing.choice(tx, rollout, now=call.now)
        first = choice.first(limit=_PREVIEWED)
        readable, _ = preparing.readable(tx, first)
        matching = len(readable) if len(first) < _PREVIEWED else choice.numbers().matching
        engines = _engines(tx, readable)
    manifest = state.repository.manifest(rollout.plan.model, rollout.plan.version)
    kept = set(readable)
    looked_at = [device for device in first if device in kept]
    return preview(rollout.plan, manifest, matching=matching, first=looked_at, engines=engines)


def _engines(tx: Transaction, ids: Sequence[str]) -> dict[str, frozenset[str]]:
    """Return the engines of those devices that reported any."""
    engines: dict[str, frozenset[str]] = {}
    for start in range(0, len(ids), _AT_ONCE):
        for name, report in reported.of(tx, ids[start : start + _AT_ONCE]).items():
            engines[name] = frozenset(report.reported.engines)
    return engines


def start_rollout(state: FleetState, call: Call[Nothing, Nothing]) -> Rollout:
    """Start a rollout."""
    return state.rollouts.start(call.path["rollout"], actor=call.caller.actor, now=call.now)


def pause_rollout(state: FleetState, call: Call[PauseRequest, Nothing]) -> Rollout:
    """Pause a rollout: no further device is told, and deadlines stand still; it halts when the pause is not ended."""
    return state.rollouts.pause(
        call.path["rollout"],
        actor=call.caller.actor,
        reason=call.body.reason,
        limit_s=call.body.for_s,
        now=call.now,
    )


def resume_rollout(state: FleetState, call: Call[Nothing, Nothing]) -> Rollout:
    """Resume a paused rollout: all deadlines are put off by the length of the pause; again is no error."""
    return state.rollouts.resume(call.path["rollout"], actor=call.caller.actor, now=call.now)


def start_next_group(state: FleetState, call: Call[NextRequest, Nothing]) -> Rollout:
    """Start the next group now: approve it, or end the soak before it; thresholds are not spared."""
    return state.rollouts.go_on(call.path["rollout"], after=call.body.after, actor=call.caller.actor, now=call.now)


def halt_rollout(state: FleetState, call: Call[ReasonRequest, Nothing]) -> Rollout:
    """Halt a rollout: devices that have not begun to activate keep what they have; again is no error."""
    return state.rollouts.halt(call.path["rollout"], actor=call.caller.actor, reason=call.body.reason, now=call.now)


def roll_back_rollout(state: FleetState, call: Call[Nothing, Nothing]) -> Rollout:
    """Bring every member of a rollout back to what it had before."""
    return state.rollouts.roll_back(call.path["rollout"], actor=call.caller.actor, now=call.now)


def cancel_rollout(state: FleetState, call: Call[Nothing, Nothing]) -> Rollout:
    """End a rollout without going on or back."""
    return state.rollouts.cancel(call.path["rollout"], actor=call.caller.actor, now=call.now)


def _detail(tx: Transaction, rollout: Rollout) -> RolloutDetail:
    counts = [Counter[str]() for _ in rollout.plan.groups]
    for group, member_state, _, number in rollouts.tallies(tx, rollout.id):
        counts[group][member_state.value] += number
    for group, number in rollouts.removed(tx, rollout.id).items():
        counts[group][MemberState.EXCUSED.value] += number
    return RolloutDetail(rollout=rollout, groups=tuple(map(dict, counts)))


_ROLLOUT = "/api/v1/rollouts/<rollout>"
ROUTES = (
    Route("POST", "/api/v1/rollouts", create_rollout, Right.OPERATE, Rollout, body=RolloutRequest, status=201),
    Route("GET", "/api/v1/rollouts", list_rollouts, Right.READ, Page[Rollout], query=PageQuery),
    Route("GET", _ROLLOUT, get_rollout, Right.READ, RolloutDetail),
    Route("GET", f"{_ROLLOUT}/members", list_members, Right.READ, Page[Member], query=MembersQuery),
    Route("GET", f"{_ROLLOUT}/preview", preview_rollout, Right.READ, Preview),
    Route("POST", f"{_ROLLOUT}/start", start_rollout, Right.OPERATE, Rollout),
    Route("POST", f"{_ROLLOUT}/pause", pause_rollout, Right.OPERATE, Rollout, body=PauseRequest),
    Route("POST", f"{_ROLLOUT}/resume", resume_rollout, Right.OPERATE, Rollout),
    Route("POST", f"{_ROLLOUT}/next", start_next_group, Right.OPERATE, Rollout, body=NextRequest),
    Route("POST", f"{_ROLLOUT}/halt", halt_rollout, Right.OPERATE, Rollout, body=ReasonRequest),
    Route("POST", f"{_ROLLOUT}/rollback", roll_back_rollout, Right.OPERATE, Rollout),
    Route("POST", f"{_ROLLOUT}/cancel", cancel_rollout, Right.OPERATE, Rollout),
)
