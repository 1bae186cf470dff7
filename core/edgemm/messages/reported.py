"""The messages in which a device tells its state: `reported` and `event`, in an envelope, and `status`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from edgemm.bundle.manifest import Digest, ModelName, VersionText
from edgemm.messages.scalars import Boot, Detail, Natural, Positive, Seconds, Short
from edgemm.open_enum import OpenEnum
from edgemm.states import UpdateState
from edgemm.times import TimeText
from edgemm.topics import DeviceId, FleetName


class ShadowPhase(OpenEnum):
    """How far a device is with a shadow: it waits for an update, is fetched, is loaded, runs, or cannot."""

    WAITING = "waiting"
    FETCHING = "fetching"
    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"


class ReportedShadow(Struct, frozen=True, kw_only=True):
    """Where a device stands with the shadow that is wanted beside one model; `reason` as of an update."""

    digest: Digest
    version: VersionText
    phase: ShadowPhase
    reason: Short | None = None
    detail: Detail | None = None


class ReportedModel(Struct, frozen=True, kw_only=True):
    """Where a device stands with one model.

    `digest`, `version`, `attempt`, `state`, `reason` and `rollout` are of the last update; `active_digest`,
    `active_version` and `variant` are of what answers requests now (None: nothing); `previous_digest` is what a
    roll-back would return to.
    """

    name: ModelName
    state: UpdateState
    digest: Digest
    version: VersionText
    attempt: Positive
    reason: Short | None = None
    detail: Detail | None = None
    rollout: Short | None = None
    active_digest: Digest | None = None
    active_version: VersionText | None = None
    variant: Short | None = None
    previous_digest: Digest | None = None
    shadow: ReportedShadow | UnsetType = UNSET


class ActionResult(Struct, frozen=True, kw_only=True):
    """What came of an action."""

    id: Short
    ok: bool
    detail: Detail = ""


class RefusedDesired(Struct, frozen=True, kw_only=True):
    """The `desired` that a device refused last, and took none since; `generation` None: it could not be read."""

    cause: Short
    generation: Natural | None = None
    detail: Detail = ""


class ReportedClock(Struct, frozen=True, kw_only=True):
    """What makes a device doubt its time, while it does.

    `ahead_s` is the system clock less the fleet's time, by the last statement of time (None: none came); `for_s` is for
    how long this has been so. `detail` says what became of the last question.
    """

    reason: Short
    ahead_s: Annotated[int, Meta(ge=-(2**53 - 1), le=2**53 - 1)] | None = None
    for_s: Seconds
    detail: Detail | None = None


class Reported(Struct, frozen=True, kw_only=True):
    """The whole state of one device. The newer one has the higher (boot_count, sequence).

    `connection` is the number of the connection by which it is sent, as in `Status`, and `desired_hash` the
    `Desired.content_hash` of what the device acts on; earlier versions leave both out.
    """

    v: Literal[1] = 1
    fleet: FleetName
    device: DeviceId
    boot: Boot
    boot_count: Positive
    sequence: Positive
    time: TimeText
    clock_synced: bool
    generation: Natural
    runtime: VersionText
    engines: dict[str, Short] = {}
    models: Annotated[tuple[ReportedModel, ...], Meta(max_length=64)] = ()
    actions: Annotated[tuple[ActionResult, ...], Meta(max_length=64)] = ()
    desired_hash: Digest | UnsetType = UNSET
    refused: RefusedDesired | UnsetType = UNSET
    clock: ReportedClock | UnsetType = UNSET
    connection: Positive | UnsetType = UNSET

    @property
    def order(self) -> tuple[int, int]:
        """What is compared to tell which of two reports is newer."""
        return (self.boot_count, self.sequence)


class Status(Struct, frozen=True, kw_only=True):
    """Online or offline; `offline` (the last will) counts only if it names the current connection."""

    v: Literal[1] = 1
    online: bool
    boot: Boot
    boot_count: Positive
    connection: Positive


class Event(Struct, frozen=True, kw_only=True):
    """One transition of one model (or of the agent, where `model` is None), reported once.

    Deduplicated by (device, boot, "event", sequence). `floor` is the lowest sequence of this boot that the device
    still holds: nothing below it will come any more.
    """

    v: Literal[1] = 1
    fleet: FleetName
    device: DeviceId
    boot: Boot
    boot_count: Positive
    sequence: Positive
    floor: Positive
    time: TimeText
    uptime_s: Seconds
    cause: Short
    detail: Detail = ""
    model: ModelName | None = None
    digest: Digest | None = None
    version: VersionText | None = None
    attempt: Positive | None = None
    rollout: Short | None = None
    from_state: UpdateState | None = None
    to_state: UpdateState | None = None
