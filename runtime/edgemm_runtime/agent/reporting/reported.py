"""The composition of reports: `reported` from the models' records, and events from their transitions. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from msgspec import UNSET, UnsetType

from edgemm import __version__, times
from edgemm.messages import (
    ActionResult,
    DesiredModel,
    Event,
    RefusedDesired,
    Reported,
    ReportedClock,
    ReportedModel,
    ReportedShadow,
)
from edgemm_runtime.agent.state.documents import ModelFile, Transition
from edgemm_runtime.agent.state.speaker import Speaker
from edgemm_runtime.agent.state.trusted_time import TrustedTime

MAX_MODELS = 64
MAX_ACTIONS = 64
_MAX_DETAIL = 1000


def reported(
    who: Speaker,
    records: Iterable[ModelFile],
    *,
    wanted: Collection[str],
    shadows: Mapping[str, ReportedShadow] = MappingProxyType({}),
    sequence: int,
    generation: int,
    now: TrustedTime,
    engines: Mapping[str, str],
    actions: Sequence[ActionResult] = (),
    desired_hash: str | None = None,
    refused: RefusedDesired | None = None,
    clock: ReportedClock | UnsetType = UNSET,
    connection: int | None = None,
) -> Reported:
    """Compose the whole state; models that are wanted come first where there are too many to tell."""
    known = sorted((r for r in records if r.update is not None), key=lambda r: (r.name not in wanted, r.name))
    return Reported(
        fleet=who.fleet,
        device=who.device,
        boot=who.boot,
        boot_count=who.boot_count,
        sequence=sequence,
        time=times.to_text(now.seconds),
        clock_synced=now.clock_synced,
        generation=generation,
        runtime=__version__,
        engines=dict(engines),
        models=tuple(_model(record, shadows.get(record.name)) for record in known[:MAX_MODELS]),
        actions=tuple(actions[-MAX_ACTIONS:]),
        desired_hash=UNSET if desired_hash is None else desired_hash,
        refused=UNSET if refused is None else refused,
        clock=clock,
        connection=UNSET if connection is None else connection,
    )


def event(
    who: Speaker, name: str | None, told: Transition, *, sequence: int, now: TrustedTime, uptime_s: float
) -> Event:
    """Compose the event of a transition; `floor` is set when it is sent."""
    return Event(
        fleet=who.fleet,
        device=who.device,
        boot=who.boot,
        boot_count=who.boot_count,
        sequence=sequence,
        floor=1,
        time=times.to_text(now.seconds),
        uptime_s=round(max(0.0, uptime_s), 3),
        cause=told.cause,
        detail=told.detail[:_MAX_DETAIL],
        model=name,
        digest=told.digest,
        version=told.version,
        attempt=told.attempt,
        rollout=told.rollout,
        from_state=told.from_state,
        to_state=told.to_state,
    )


def _model(record: ModelFile, shadow: ReportedShadow | None) -> ReportedModel:
    update, active = record.update, record.active
    assert update is not None
    target: DesiredModel = update.target
    return ReportedModel(
        name=record.name,
        state=update.state,
        digest=target.digest,
        version=target.version,
        attempt=target.attempt,
        reason=update.reason,
        detail=update.detail[:_MAX_DETAIL] if update.detail else None,
        rollout=target.rollout,
        active_digest=active.digest if active else None,
        active_version=active.version if active else None,
        variant=active.variant if active else None,
        previous_digest=record.previous.digest if record.previous else None,
        shadow=UNSET if shadow is None else shadow,
    )
