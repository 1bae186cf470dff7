"""The routes for shadows: run a version beside the active one on devices, end it, and show what it found."""

from __future__ import annotations

from edgemm.messages import DesiredShadow, Reported, ReportedShadow
from edgemm_fleet.api.context import FleetState
from edgemm_fleet.api.messages import (
    ClearShadowRequest,
    DeviceShadow,
    Nothing,
    PageQuery,
    ShadowBeside,
    ShadowChange,
    ShadowRequest,
    given_variants,
)
from edgemm_fleet.api.rights import Right
from edgemm_fleet.api.routes import Call, Route
from edgemm_fleet.api.telemetry import shadow_windows
from edgemm_fleet.records.records import Page, TelemetryRecord
from edgemm_fleet.shadows.operations import check_known
from edgemm_fleet.store import reported, shadows, streams


def set_shadow(state: FleetState, call: Call[ShadowRequest, Nothing]) -> ShadowChange:
    """Want a version as a shadow beside a model, on all devices of a selector."""
    model, asked = call.path["model"], call.body
    changed = state.shadows.put(
        model,
        asked.version,
        share=asked.share,
        variants=given_variants(asked.variants),
        selector=asked.selector.checked(model=model),
        actor=call.caller.actor,
        now=call.now,
        allow_empty=asked.allow_empty,
    )
    return ShadowChange(model=model, devices=changed.devices, number=changed.number)


def clear_shadow(state: FleetState, call: Call[ClearShadowRequest, Nothing]) -> ShadowChange:
    """Want no shadow beside a model any more, on all devices of a selector."""
    model = call.path["model"]
    asked, actor = call.body, call.caller.actor
    selector = asked.selector.checked(model=model)
    changed = state.shadows.clear(model, selector=selector, actor=actor, now=call.now, allow_empty=asked.allow_empty)
    return ShadowChange(model=model, devices=changed.devices, number=changed.number)


def list_shadows(state: FleetState, call: Call[Nothing, PageQuery]) -> Page[DeviceShadow]:
    """List the shadows beside a model by device, with what each device reported and counted."""
    model = call.path["model"]
    with state.store.read() as tx:
        check_known(tx, model)
        page = shadows.page(tx, model, after=call.query.after, limit=call.query.limit)
        reports = reported.of(tx, [device for device, _ in page.items])
        items = []
        for device, wanted in page.items:
            newest = next(iter(streams.page_telemetry(tx, device, limit=1).items), None)
            report = reports[device].reported if device in reports else None
            items.append(
                DeviceShadow(
                    device=device,
                    wanted=wanted,
                    reported=_reported(report, model, wanted),
                    beside=_beside(newest, model, wanted),
                    received_at=newest.received_at if newest else None,
                )
            )
    return Page(items=tuple(items), next=page.next)


def _reported(report: Reported | None, model: str, wanted: DesiredShadow) -> ReportedShadow | None:
    told = [one.shadow for one in report.models if one.name == model] if report else []
    return next((one for one in told if isinstance(one, ReportedShadow) and one.digest == wanted.digest), None)


def _beside(newest: TelemetryRecord | None, model: str, wanted: DesiredShadow) -> tuple[ShadowBeside, ...]:
    return tuple(
        ShadowBeside(active_digest=sent.digest.hex(), active_variant=sent.variant, counters=counters)
        for sent in (newest.telemetry.models if newest else ())
        if sent.name == model
        for counters in shadow_windows(sent)
        if counters.digest == wanted.digest
    )


_SHADOW = "/api/v1/models/<model>/shadow"
ROUTES = (
    Route("PUT", _SHADOW, set_shadow, Right.OPERATE, ShadowChange, body=ShadowRequest),
    Route("POST", f"{_SHADOW}/clear", clear_shadow, Right.OPERATE, ShadowChange, body=ClearShadowRequest),
    Route("GET", f"{_SHADOW}s", list_shadows, Right.READ, Page[DeviceShadow], query=PageQuery),
)
