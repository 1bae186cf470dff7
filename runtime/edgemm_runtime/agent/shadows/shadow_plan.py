"""The plan for the shadow of one model: decides the next step towards what is wanted. Pure.

Updates go first. A shadow runs only while its model's own update is over, and is fetched only while no update looks for
room. It gives up its room on the disk to an update that does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from edgemm.messages import DesiredModel, DesiredShadow
from edgemm.states import UpdateState
from edgemm_runtime.agent.state.documents import ModelFile, Update
from edgemm_runtime.agent.update import machine

_LOOKS_FOR_ROOM = frozenset({UpdateState.ACCEPTED, UpdateState.DOWNLOADING})


class ShadowStep(StrEnum):
    """What to do next about a shadow."""

    END = "end"
    WAIT = "wait"
    BRING = "bring"
    KEEP = "keep"


@dataclass(frozen=True)
class ShadowSituation:
    """What is known of one model: its record, what is wanted beside it, and what runs or failed there."""

    record: ModelFile | None
    wanted: DesiredShadow | None
    runs: DesiredShadow | None = None
    failed: DesiredShadow | None = None
    room_is_wanted: bool = False
    """An update, of whichever model, may be short of disk."""


def step(now: ShadowSituation) -> ShadowStep:
    """Return what to do next about one model's shadow."""
    record, wanted = now.record, now.wanted
    usable = record is not None and record.active is not None and machine.is_over(record)
    if wanted is None or not usable or (now.runs is not None and now.runs != wanted):
        return ShadowStep.END if now.runs is not None or wanted is None else ShadowStep.WAIT
    if wanted in (now.runs, now.failed):
        return ShadowStep.KEEP
    return ShadowStep.WAIT if now.room_is_wanted else ShadowStep.BRING


def room_is_wanted(records: Iterable[ModelFile]) -> bool:
    """Tell whether an update has yet to find room for its bytes."""
    return any(machine.state(record) in _LOOKS_FOR_ROOM for record in records)


def install(name: str, wanted: DesiredShadow, *, variant: str | None = None) -> ModelFile:
    """Return a record by which `Steps` fetch a shadow just as an update; it is never written to disk."""
    target = DesiredModel(name=name, version=wanted.version, digest=wanted.digest, variants=wanted.variants)
    state = UpdateState.ACCEPTED if variant is None else UpdateState.DOWNLOADING
    return ModelFile(name=name, update=Update(target=target, state=state, variant=variant))
