"""The routes for devices: list, show, label and remove them, and read their events and telemetry."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET
from msgspec.structs import replace

from edgemm.errors import BadRequestError, NotFoundError
from edgemm.messages import Desired
from edgemm.states import RolloutState
from edgemm.trust.enrolment import check_labels
from edgemm_fleet.api.context import FleetState
from edgemm_fleet.api.messages import (
    DeviceDetail,
    DevicePage,
    DevicesQuery,
    DeviceSummary,
    FailedUpdate,
    HistoryQuery,
    LabelsQuery,
    LabelsRequest,
    LabelWords,
    Nothing,
    PageQuery,
)
from edgemm_fleet.api.rights import Right
from edgemm_fleet.api.routes import Call, Route
from edgemm_fleet.api.telemetry import HealthHour, TelemetryWindow, health_hour, window
from edgemm_fleet.filters.expressions import FactSubject
from edgemm_fleet.filters.filter_index import FilterIndex
from edgemm_fleet.records.records import Device, EventRecord, Page, ReportedRecord
from edgemm_fleet.records.rollout_plan import Selector
from edgemm_fleet.store import (
    actions,
    assignments,
    audit,
    desired,
    devices,
    models,
    reported,
    rollouts,
    shadows,
    streams,
)
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.dialects.time_limit import soon
from edgemm_fleet.store.facts import device_facts
from edgemm_fleet.store.facts.fact_queries import FactQuery

MAX_LABELS = 32
_RECENT = 20
_MOST_WORDS = 200


def list_devices(state: FleetState, call: Call[Nothing, DevicesQuery]) -> DevicePage:
    """List the devices by id, or those that a filter means, each with the models that it reported."""
    asked = call.query
    selector = Selector() if asked.where is None else Selector(where=asked.where).checked(model=None)
    with state.store.read() as tx:
        with soon(tx):
            query = FactQuery(tx, selector.expression(), now=call.now)
            if asked.where is None:
                page = devices.page(tx, after=asked.after, limit=asked.limit)
            else:
                page = devices.page_matching(tx, query, after=asked.after, limit=asked.limit)
            matching = query.count() if asked.count else UNSET
        ids = [device.id for device in page.items]
        reports, orders = reported.of(tx, ids), desired.of(tx, ids)  # what cannot be read is noted, and shown
        assignments.of(tx, ids)
        failed = _failed(tx, reports)
        withdrawn = _withdrawn(tx, reports)
    items = []
    for device in page.items:
        report = reports.get(device.id)
        item = DeviceSummary(
            device=device,
            refusal=orders[device.id].refusal if device.id in orders else None,
            failed=failed.get(device.id, ()),
            shed=state.vitals.hearing.shed_of(device.id),
            withdrawn=withdrawn.get(device.id, ()),
            unreadable=state.store.quarantine.of(device.id),
        )
        if report is not None:
            told, clock = report.reported, report.reported.clock
            item = replace(
                item,
                models=told.models,
                clock=None if clock is UNSET else clock,
                reported_at=report.received_at,
            )
        items.append(item)
    return DevicePage(items=tuple(items), next=page.next, matching=matching)


def get_device(state: FleetState, call: Call[Nothing, Nothing]) -> DeviceDetail:
    """Show one device: what is wanted of it, what it reported, its newest events and telemetry."""
    with state.store.read() as tx:
        device = devices.get_live(tx, call.path["device"])
        report = reported.find(tx, device.id)
        mine = {device.id: report} if report else {}
        wanted = desired.find(tx, device.id)
        assignments.of(tx, [device.id])  # as in `list_devices`
        shadows.of(tx, [device.id])
        detail = DeviceDetail(
            device=device,
            desired=wanted.desired if wanted else None,
            refusal=wanted.refusal if wanted else None,
            reported=report.reported if report else None,
            reported_at=report.received_at if report else None,
            failed=_failed(tx, mine).get(device.id, ()),
            withdrawn=_withdrawn(tx, mine).get(device.id, ()),
            actions=tuple(actions.recent(tx, device.id, limit=_RECENT)),
            events=streams.page_events(tx, device.id, limit=_RECENT).items,
            telemetry=tuple(map(window, streams.page_telemetry(tx, device.id, limit=1).items)),
            shed=state.vitals.hearing.shed_of(device.id),
            meant_by=_meant_by(tx, device.id, now=call.now),
        )
    return replace(detail, unreadable=state.store.quarantine.of(device.id))


def _withdrawn(tx: Transaction, reports: Mapping[str, ReportedRecord]) -> dict[str, tuple[str, ...]]:
    """Return device → the models of which it runs a version that was withdrawn."""
    active = {device: [m for m in report.reported.models if m.active_digest] for device, report in reports.items()}
    gone = models.withdrawn_among(tx, {str(one.active_digest) for found in active.values() for one in found})
    return {device: tuple(one.name for one in found if one.active_digest in gone) for device, found in active.items()}


def get_desired(state: FleetState, call: Call[Nothing, Nothing]) -> Desired:
    """Return what the fleet wants of one device."""
    with state.store.read() as tx:
        device = devices.get_live(tx, call.path["device"])
        wanted = desired.find(tx, device.id)
    if wanted is None:
        raise NotFoundError(f"device {device.id}: nothing was ever wanted of it; start a rollout that reaches it")
    return wanted.desired


def list_events(state: FleetState, call: Call[Nothing, PageQuery]) -> Page[EventRecord]:
    """List a device's events, newest first."""
    with state.store.read() as tx:
        device = devices.get_live(tx, call.path["device"])
        return streams.page_events(tx, device.id, after=call.query.after, limit=call.query.limit)


def list_telemetry(state: FleetState, call: Call[Nothing, PageQuery]) -> Page[TelemetryWindow]:
    """List a device's telemetry windows, newest first."""
    with state.store.read() as tx:
        device = devices.get_live(tx, call.path["device"])
        page = streams.page_telemetry(tx, device.id, after=call.query.after, limit=call.query.limit)
    return Page(items=tuple(map(window, page.items)), next=page.next)


def list_health(state: FleetState, call: Call[Nothing, HistoryQuery]) -> Page[HealthHour]:
    """List how a device was, hour by hour, newest first; an hour that it said nothing in is missing."""
    asked = call.query
    with state.store.read() as tx:
        device = devices.get_live(tx, call.path["device"])
        page = streams.page_health(tx, device.id, after=asked.after, since=asked.since, limit=asked.limit)
    return Page(items=tuple(map(health_hour, page.items)), next=page.next)


def label_device(state: FleetState, call: Call[LabelsRequest, Nothing]) -> Device:
    """Set and take off labels of a device; those not named stay."""
    check_labels(call.body.put)
    with state.store.write() as tx:
        device = devices.get_live(tx, call.path["device"])
        kept = {name: value for name, value in device.labels.items() if name not in call.body.drop}
        labels = {**kept, **call.body.put}
        if len(labels) > MAX_LABELS:
            raise BadRequestError(f"device {device.id}: {len(labels)} labels, the limit is {MAX_LABELS}")
        devices.set_labels(tx, device.id, labels)
        text = " ".join(f"{name}={value}" for name, value in sorted(labels.items()))
        audit.add(tx, at=call.now, actor=call.caller.actor, action="device.label", subject=device.id, detail=text)
        return devices.get_live(tx, device.id)


def list_labels(state: FleetState, call: Call[Nothing, LabelsQuery]) -> LabelWords:
    """Name the labels that devices have, and the values of one of them."""
    label = call.query.label
    with state.store.read() as tx:
        names = device_facts.names(tx, FactSubject.LABEL, limit=_MOST_WORDS)
        values = [] if label is None else device_facts.values_of(tx, FactSubject.LABEL, label, limit=_MOST_WORDS)
    return LabelWords(names=tuple(names), values=tuple(values))


def remove_device(state: FleetState, call: Call[Nothing, Nothing]) -> None:
    """End all rights of a device: its key, its bearer and its login at the broker; rollouts wait for it no longer."""
    with state.store.write() as tx:
        device = devices.get_live(tx, call.path["device"])
        devices.remove(tx, device.id, now=call.now)
        actions.end_waiting(tx, device.id, detail="the device was removed", now=call.now)
        state.rollouts.leave(tx, device.id, now=call.now)
        audit.add(tx, at=call.now, actor=call.caller.actor, action="device.remove", subject=device.id)
    state.credentials.refresh()
    state.rollouts.wake()


def _meant_by(tx: Transaction, device: str, *, now: float) -> tuple[str, ...]:
    """Return the rollouts that run and whose selector means a device, by id."""
    facts = device_facts.of(tx, device)
    running = {one.id: one.plan for one in rollouts.in_states(tx, [RolloutState.RUNNING]) if not one.plan.unknown}
    meant = {name: plan.selector.expression(model=plan.model) for name, plan in running.items()}
    return () if facts is None else tuple(sorted(FilterIndex(meant).meaning(facts, now=now)))


def _failed(tx: Transaction, reports: Mapping[str, ReportedRecord]) -> dict[str, tuple[FailedUpdate, ...]]:
    """Return device → the last update of each of its models that failed, where it does not run that version now."""
    ended = [m for m in rollouts.current_memberships(tx, sorted(reports)) if m.failure is not None]
    plans = rollouts.plans(tx, [member.rollout for member in ended])
    found: dict[str, tuple[FailedUpdate, ...]] = {}
    for member in ended:
        plan = plans.get(member.rollout)
        if plan is None:  # it cannot be read
            continue
        models = reports[member.device].reported.models
        if any(one.name == plan.model and one.active_digest == plan.digest for one in models):
            continue
        one = FailedUpdate(
            model=plan.model,
            version=plan.version,
            rollout=member.rollout,
            state=member.failure or member.state.value,
            reason=member.reason,
            detail=member.detail,
            at=member.changed_at,
        )
        found[member.device] = (*found.get(member.device, ()), one)
    return found


ROUTES = (
    Route("GET", "/api/v1/devices", list_devices, Right.READ, DevicePage, query=DevicesQuery),
    Route("GET", "/api/v1/labels", list_labels, Right.READ, LabelWords, query=LabelsQuery),
    Route("GET", "/api/v1/devices/<device>", get_device, Right.READ, DeviceDetail),
    Route("DELETE", "/api/v1/devices/<device>", remove_device, Right.OPERATE, Nothing, status=204),
    Route("GET", "/api/v1/devices/<device>/desired", get_desired, Right.READ, Desired),
    Route("PATCH", "/api/v1/devices/<device>/labels", label_device, Right.OPERATE, Device, body=LabelsRequest),
    Route("GET", "/api/v1/devices/<device>/events", list_events, Right.READ, Page[EventRecord], query=PageQuery),
    Route(
        "GET", "/api/v1/devices/<device>/telemetry", list_telemetry, Right.READ, Page[TelemetryWindow], query=PageQuery
    ),
    Route("GET", "/api/v1/devices/<device>/history", list_health, Right.READ, Page[HealthHour], query=HistoryQuery),
)
