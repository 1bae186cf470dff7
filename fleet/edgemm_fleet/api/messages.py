"""The request and answer types of the HTTP API, beside the store's records and the wire's messages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from edgemm.bundle.manifest import Digest, ModelName, VersionText
from edgemm.messages import (
    ActionKind,
    Desired,
    DesiredShadow,
    ModelConfig,
    Reported,
    ReportedClock,
    ReportedModel,
    ReportedShadow,
    Short,
    VariantPolicy,
    Variants,
)
from edgemm.trust.enrolment import Labels
from edgemm_fleet.api.telemetry import ShadowWindow, TelemetryWindow
from edgemm_fleet.health.health_findings import Finding
from edgemm_fleet.health.measures import ManagerMeasures
from edgemm_fleet.records.expiries import Expiry
from edgemm_fleet.records.members import MemberState
from edgemm_fleet.records.progress import Rollout
from edgemm_fleet.records.records import (
    ActionRecord,
    DesiredRefusal,
    Device,
    EnrolmentTokenRecord,
    EventRecord,
    ModelRecord,
    PersonToken,
    Role,
    VersionRecord,
)
from edgemm_fleet.records.rollout_plan import (
    FILTER,
    TOLERATED_REJECTIONS,
    DeadlineSeconds,
    Group,
    RolloutPlan,
    Selector,
)
from edgemm_fleet.records.shed import Shed
from edgemm_fleet.records.waiting import WAITS, PauseSeconds, WaitKind
from edgemm_fleet.rollout.explanation import in_short

DEFAULT_GROUPS = (Group(count=1), Group(percent=10), Group(percent=100))
"""A canary of one device, then a tenth, then everybody."""

DAY_S = 86_400.0
MAX_TTL_S = 3660 * DAY_S
TtlSeconds = Annotated[float, Meta(gt=0, le=MAX_TTL_S)]
PersonName = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9._@-]{0,62}\Z")]
PageLimit = Annotated[int, Meta(ge=1, le=1000)]


class RequestBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what people send: a misspelled field is an error, not a default."""


class Nothing(Struct, frozen=True):
    """No body, no query, or no answer."""


class PageQuery(RequestBody, frozen=True):
    """Which part of a list: `after` is the `next` of the part before."""

    after: Annotated[str, Meta(max_length=256)] | None = None
    limit: PageLimit = 100


class HistoryQuery(PageQuery, frozen=True):
    """Which part of a history: what is of a time after `since`, in seconds since the epoch."""

    since: Annotated[float, Meta(ge=-1e11, le=1e11)] | None = None


class DevicesQuery(PageQuery, frozen=True):
    """Which devices: those that a filter means; `count` asks how many they are in all."""

    where: str | None = None
    count: bool = False


class MembersQuery(PageQuery, frozen=True):
    """Which part of a rollout's members; `state` leaves those of others out."""

    state: MemberState | None = None

    def __post_init__(self) -> None:
        if self.state is not None and not self.state.known:
            raise ValueError(f"state {self.state!s:.40}: expected one of {', '.join(MemberState)}")


class Overview(Struct, frozen=True, kw_only=True):
    """Numbers of the whole fleet, and the time at the server, by which ages are told (seconds since the epoch)."""

    now: float
    devices_online: int
    devices_offline: int
    models: int
    versions: int
    rollouts: dict[str, int]
    healthy: bool = True
    health: str = ""
    """The manager's health in one line."""


class Health(Struct, frozen=True, kw_only=True):
    """The server answers."""

    status: Literal["ok"] = "ok"


class Me(Struct, frozen=True, kw_only=True):
    """Whose token was shown, and to which fleet."""

    fleet: str
    person: str
    role: Role
    expires_at: float
    version: str
    root_version: int = 1
    """Of the newest TUF root: what a login trusts first."""


class FleetStatus(Struct, frozen=True, kw_only=True):
    """How a fleet and its manager are: devices, rollouts by state, what ended or ends within 30 days.

    `healthy` and `findings` say what is wrong, and what to do; None and nothing of a manager that does not tell them.
    """

    fleet: str
    version: str
    public_url: str
    broker_connected: bool
    online: int
    offline: int
    rollouts: dict[str, int]
    ending: tuple[Expiry, ...]
    healthy: bool | None = None
    findings: tuple[Finding, ...] = ()
    measures: ManagerMeasures | None = None


class TokenRequest(RequestBody, frozen=True):
    """An enrolment token to make: for how many devices (None: any number), for how long, and with which labels."""

    uses: Annotated[int, Meta(ge=1, le=1_000_000)] | None = 1
    ttl_s: TtlSeconds = DAY_S
    labels: Labels = {}


class CreatedToken(Struct, frozen=True, kw_only=True):
    """A new enrolment token; its text is shown this once."""

    token: str
    url: str
    record: EnrolmentTokenRecord


class PersonRequest(RequestBody, frozen=True):
    """A person's token to make."""

    person: PersonName
    role: Role
    ttl_s: TtlSeconds = 365 * DAY_S

    def __post_init__(self) -> None:
        if not self.role.known:
            raise ValueError(f"role {self.role!s:.40}: expected one of {', '.join(Role)}")


class CreatedPerson(Struct, frozen=True, kw_only=True):
    """A new token of a person; its text is shown this once."""

    token: str
    url: str
    record: PersonToken


class FailedUpdate(Struct, frozen=True, kw_only=True):
    """The last update of one model of a device, where that failed: what was tried, and what the device said.

    A halted rollout takes its version back, and then the device reports what it runs and no failure any more.
    """

    model: str
    version: str
    rollout: str
    state: str
    reason: str | None
    detail: str | None
    at: float

    @property
    def said(self) -> str:
        """What became of it, in a few words."""
        return ": ".join(filter(None, (self.state, in_short(self.reason, self.detail))))


class DeviceSummary(Struct, frozen=True, kw_only=True):
    """A device in a list: who it is, what it last said of its models and its clock, and why it refuses."""

    device: Device
    models: tuple[ReportedModel, ...] = ()
    clock: ReportedClock | None = None
    reported_at: float | None = None
    refusal: DesiredRefusal | None = None
    failed: tuple[FailedUpdate, ...] = ()
    shed: Shed | None = None
    """What was thrown away of it since the manager started; None: nothing."""
    withdrawn: tuple[str, ...] = ()
    """Names of the models of which it runs a version that was withdrawn."""
    unreadable: dict[str, str] = {}
    """Part of what the database has of it → why that cannot be read; it is passed over, and costs this device alone."""


class DevicePage(Struct, frozen=True, kw_only=True):
    """Part of the list of devices, as any `Page`; `matching` is how many there are in all, where that was asked.

    With a filter that hardly any device matches, a part may have fewer items than asked for, and not be the last.
    """

    items: tuple[DeviceSummary, ...]
    next: str | None = None
    matching: int | UnsetType = UNSET


class LabelsQuery(RequestBody, frozen=True):
    """The label whose values are asked for besides the names of all labels."""

    label: Short | None = None


class LabelWords(Struct, frozen=True, kw_only=True):
    """Names of labels that devices have, and values of the one that was asked for; the first of each, in order."""

    names: tuple[str, ...]
    values: tuple[str, ...] = ()


class DeviceDetail(Struct, frozen=True, kw_only=True):
    """Everything about one device; events and telemetry are the newest few, newest first.

    `refusal` says why the device does not act on `desired`.
    """

    device: Device
    desired: Desired | None
    refusal: DesiredRefusal | None
    reported: Reported | None
    reported_at: float | None
    failed: tuple[FailedUpdate, ...] = ()
    actions: tuple[ActionRecord, ...]
    events: tuple[EventRecord, ...]
    telemetry: tuple[TelemetryWindow, ...]
    shed: Shed | None = None
    """As in `DeviceSummary`."""
    withdrawn: tuple[str, ...] = ()
    """As in `DeviceSummary`."""
    unreadable: dict[str, str] = {}
    """As in `DeviceSummary`."""
    meant_by: tuple[str, ...] = ()
    """The rollouts that run and whose selector means it now."""


class LabelsRequest(RequestBody, frozen=True):
    """Labels to set on a device, and names of labels to take off; the others stay."""

    put: Labels = {}
    drop: tuple[Short, ...] = ()


class ActionRequest(RequestBody, frozen=True):
    """Something that a device is to do once; `model` of a self-test alone, None: of all models.

    With an `id` of the caller's choice the request can be repeated; the server chooses one where it is left out.
    """

    kind: ActionKind
    model: ModelName | None = None
    id: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")] | None = None


class BlobsRequest(RequestBody, frozen=True):
    """Digests that a publisher is about to upload."""

    digests: Annotated[tuple[Digest, ...], Meta(max_length=4096)]


class MissingBlobs(Struct, frozen=True, kw_only=True):
    """Those that the server does not have."""

    digests: tuple[Digest, ...]


class AuthorisationRequest(RequestBody, frozen=True):
    """Who may publish a model: a TUF key document."""

    public_key: dict[str, Any]


class Authorisation(Struct, frozen=True, kw_only=True):
    """The ids of the keys that may publish a model."""

    model: str
    key_ids: tuple[str, ...]


class PublishRequest(RequestBody, frozen=True):
    """A version: the manifest's text as it stands in the bundle, and the next, signed metadata of the model's role."""

    manifest: str
    role: str


class RoleRequest(RequestBody, frozen=True):
    """A model's role as TUF metadata that its publisher signed anew."""

    role: Annotated[str, Meta(max_length=5_000_000)]


class WithdrawalRequest(RequestBody, frozen=True):
    """A model's role without some versions, or with another minimum version, as TUF metadata that a publisher signed.

    With `force` the versions may be in use.
    """

    role: Annotated[str, Meta(max_length=5_000_000)]
    force: bool = False


class Withdrawn(Struct, frozen=True, kw_only=True):
    """What a withdrawal did: which versions are offered no more, and the minimum version that now holds.

    `halted` are rollouts that ran; `running` names ten at most of the `running_count` devices that go on running them.
    """

    model: str
    versions: tuple[str, ...]
    minimum_version: str
    halted: tuple[str, ...] = ()
    shadows_ended: int = 0
    running: tuple[str, ...] = ()
    running_count: int = 0


class TargetsRequest(RequestBody, frozen=True):
    """The next top-level targets role, signed with the offline targets key."""

    targets: str


class Tidied(Struct, frozen=True, kw_only=True):
    """The models that nobody may publish any more."""

    models: tuple[str, ...]


class ModelDetail(Struct, frozen=True, kw_only=True):
    """A model with its hundred highest versions, the highest first."""

    model: ModelRecord
    key_ids: tuple[str, ...]
    versions: tuple[VersionRecord, ...]


class RolloutDetail(Struct, frozen=True, kw_only=True):
    """A rollout and how many of each group's members are in which state."""

    rollout: Rollout
    groups: tuple[dict[str, int], ...]


def given_variants(asked: Literal["auto"] | tuple[str, ...]) -> Variants:
    """Return what a request says of variants as a device is told it."""
    return VariantPolicy.AUTO if asked == "auto" else asked


class RolloutRequest(RequestBody, frozen=True):
    """A rollout to draft; fields as in `RolloutPlan`, whose digest is the published version's."""

    model: ModelName
    version: VersionText
    groups: Annotated[tuple[Group, ...], Meta(min_length=1, max_length=64)] = DEFAULT_GROUPS
    selector: Selector = Selector()
    variants: Literal["auto"] | Annotated[tuple[Short, ...], Meta(min_length=1, max_length=32)] = "auto"
    config: ModelConfig = ModelConfig()
    tolerated_rejections: Annotated[tuple[Short, ...], Meta(max_length=32)] = TOLERATED_REJECTIONS
    activation_deadline_s: DeadlineSeconds | None = None
    supersedes: Short | None = None
    allow_empty: bool = False

    def plan(self, digest: str) -> RolloutPlan:
        """Return the plan for a published digest.

        Raises:
            ValueError: it contradicts itself.
        """
        asked = {name: getattr(self, name) for name in self.__struct_fields__}
        requires = UNSET if self.selector.where is UNSET else (FILTER,)
        return RolloutPlan(digest=digest, **asked | {"variants": given_variants(self.variants), "requires": requires})


class PreviewGroup(Struct, frozen=True, kw_only=True):
    """How many devices a group would take if the rollout started now, the first 1,000 of them, and what they fetch."""

    devices: tuple[str, ...]
    download_bytes: int
    size: int = 0


class Preview(Struct, frozen=True, kw_only=True):
    """What a rollout would do if it started now; `without_engine` of those looked at have no engine for any variant."""

    matching: int
    groups: tuple[PreviewGroup, ...]
    download_bytes: int
    without_engine: tuple[str, ...]
    looked_at: int = 0


class ShadowRequest(RequestBody, frozen=True):
    """A published version to run as a shadow beside a model, on the devices of a selector that are enrolled now.

    With `allow_empty` these may be none.
    """

    version: VersionText
    share: Annotated[float, Meta(gt=0, le=1)] = 0.05
    variants: Literal["auto"] | Annotated[tuple[Short, ...], Meta(min_length=1, max_length=32)] = "auto"
    selector: Selector = Selector()
    allow_empty: bool = False


class ClearShadowRequest(RequestBody, frozen=True):
    """Devices on which no shadow is to run any more beside a model; with `allow_empty` these may be none."""

    selector: Selector = Selector()
    allow_empty: bool = False


class ShadowChange(Struct, frozen=True, kw_only=True):
    """How many devices this changed, or want it already, and the first of them by id, 1,000 at most.

    A manager of before 0.3.0 names all of them, and no number.
    """

    model: str
    devices: tuple[str, ...]
    number: int = 0


class ShadowBeside(Struct, frozen=True, kw_only=True):
    """What a shadow did beside one version of the active model since the device's boot."""

    active_digest: str
    active_variant: str
    counters: ShadowWindow


class DeviceShadow(Struct, frozen=True, kw_only=True):
    """The shadow beside one model of one device: what is wanted, what was reported, what was counted.

    `reported` is null until the device told of this version; `beside` is of the newest telemetry window, which came at
    `received_at`.
    """

    device: str
    wanted: DesiredShadow
    reported: ReportedShadow | None
    beside: tuple[ShadowBeside, ...]
    received_at: float | None


class ReasonRequest(RequestBody, frozen=True):
    """Why an operator does this."""

    reason: Short = "by an operator"


class PauseRequest(ReasonRequest, frozen=True):
    """A pause, and after how many seconds it ends by itself: the rollout halts then."""

    for_s: PauseSeconds = WAITS[WaitKind.PAUSE].limit_s


class NextRequest(RequestBody, frozen=True):
    """The index (from 0) of the group after which to go on now, once, however often it is asked; None: the current."""

    after: Annotated[int, Meta(ge=0, le=63)] | None = None
