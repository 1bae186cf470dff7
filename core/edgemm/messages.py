"""The MQTT messages between devices and the fleet manager; one Struct per message.

Control messages are JSON, telemetry is msgpack. Unknown fields are ignored; another major version (`v`) is refused by
name. Duplicates, reordering and loss are normal: nothing here relies on their absence. `desired`, `reported` and
`event` travel inside a DSSE envelope (`edgemm.trust.signing`); `status`, `ack` and `telemetry` travel as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from edgemm import canonical
from edgemm.bundle.manifest import Digest, ModelName, VersionText
from edgemm.errors import MessageError
from edgemm.states import UpdateState
from edgemm.times import TimeText
from edgemm.topics import DeviceId, FleetName

VERSION = 1
MAX_CONTROL_BYTES = 32 * 1024
"""Largest control message, envelope and all."""
MAX_TELEMETRY_BYTES = 1024
"""Largest telemetry message: one a minute and device."""

Boot = Annotated[str, Meta(pattern=r"\A[0-9a-f]{16}\Z")]
"""A start of the agent: a random 64-bit id in hex."""
Natural = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Positive = Annotated[int, Meta(ge=1, le=2**53 - 1)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Short = Annotated[str, Meta(max_length=128)]
Detail = Annotated[str, Meta(max_length=1024)]
Message = TypeVar("Message", bound=Struct)


class Probation(Struct, frozen=True, kw_only=True):
    """How long and under which conditions a new model is on trial.

    It commits once `min_duration_s` (monotonic) and `min_requests` are reached, or at `max_duration_s`. More than
    `max_error_ratio` of at least `min_requests` requests failing, a median latency above `max_latency_s`, or a golden
    sample that comes out wrong (checked every `selftest_interval_s`) turns it back.
    """

    min_duration_s: Seconds = 60.0
    min_requests: Natural = 0
    max_duration_s: Seconds = 3600.0
    max_error_ratio: Ratio = 0.05
    max_latency_s: Seconds | None = None
    selftest_interval_s: Seconds = 10.0


class DesiredShadow(Struct, frozen=True, kw_only=True):
    """A version to run beside the active one: it sees a share of the requests and answers none of them."""

    version: VersionText
    digest: Digest
    share: Annotated[float, Meta(gt=0, le=1)] = 0.05
    variants: Literal["auto"] | Annotated[tuple[str, ...], Meta(min_length=1, max_length=32)] = "auto"


class ModelConfig(Struct, frozen=True, kw_only=True):
    """How a device is to run one model."""

    probation: Probation = Probation()
    threads: Annotated[int, Meta(ge=1, le=64)] = 1
    shadow: DesiredShadow | UnsetType = UNSET


class DesiredModel(Struct, frozen=True, kw_only=True):
    """One model that a device should run; `digest` is the bundle's identity."""

    name: ModelName
    version: VersionText
    digest: Digest
    attempt: Positive = 1
    variants: Literal["auto"] | Annotated[tuple[str, ...], Meta(min_length=1, max_length=32)] = "auto"
    config: ModelConfig = ModelConfig()
    rollout: Short | None = None


class Action(Struct, frozen=True, kw_only=True):
    """Something to do once: `diagnose`, `prune`, `restart` or `selftest`; a device reports others as unsupported."""

    id: Short
    kind: Short
    model: ModelName | None = None


class Desired(Struct, frozen=True, kw_only=True):
    """The whole state that the fleet wants of one device; a model absent from it is stopped.

    The same generation and content with a later expiry renews it; the same generation with other content is refused.
    """

    v: Literal[1] = 1
    fleet: FleetName
    device: DeviceId
    generation: Positive
    not_before: TimeText
    expires: TimeText
    models: Annotated[tuple[DesiredModel, ...], Meta(max_length=64)] = ()
    actions: Annotated[tuple[Action, ...], Meta(max_length=32)] = ()

    def content(self) -> bytes:
        """Return canonical bytes of everything but the validity; equal for a renewal."""
        return canonical.encode(msgspec.structs.replace(self, not_before="", expires=""))


class ShadowPhase(StrEnum):
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


class Reported(Struct, frozen=True, kw_only=True):
    """The whole state of one device. The newer one has the higher (boot_count, sequence)."""

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


class Stream(StrEnum):
    """What is numbered and acknowledged on its own."""

    EVENT = "event"
    TELEMETRY = "telemetry"


class StreamAck(Struct, frozen=True, kw_only=True):
    """The highest sequence of one boot's stream up to which everything is stored."""

    boot: Boot
    stream: Stream
    sequence: Natural


class Ack(Struct, frozen=True, kw_only=True):
    """What the fleet manager has stored; only this lets a device drop something from its spool."""

    v: Literal[1] = 1
    acks: Annotated[tuple[StreamAck, ...], Meta(min_length=1, max_length=64)]


LATENCY_EDGES_S = tuple(50e-6 * 2 ** (i / 2) for i in range(32))
"""Upper edges of the latency buckets, 50 µs to 2.3 s by factors of √2; one more bucket counts what is above."""


ClassCounts = tuple[Natural, Natural, Natural, Natural]


class ShadowOutput(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a shadow's answers in one output differ from the active model's.

    A class-like output has `rows` and, of them, `agreed`; and by class (index, agreed, named by the active model only,
    by the shadow only), the classes with the most rows first: those that did not fit are left out. Any other output
    has `errors`, counts by how far the values are apart as a share of the range (upper edges 10^(-6 + i/2) for i = 0
    to 14, one more for what is above, zeros at the end left out), and how many were `above` and `below`.
    """

    name: Short = msgspec.field(name="o")
    rows: Natural = msgspec.field(name="n", default=0)
    agreed: Natural = msgspec.field(name="a", default=0)
    classes: Annotated[tuple[ClassCounts, ...], Meta(max_length=257)] = msgspec.field(name="c", default=())
    errors: Annotated[tuple[Natural, ...], Meta(max_length=16)] = msgspec.field(name="h", default=())
    above: Natural = msgspec.field(name="u", default=0)
    below: Natural = msgspec.field(name="b", default=0)


class ShadowCounters(Struct, frozen=True, kw_only=True):
    """Counters since boot of one shadow beside one (model, digest, variant); they only rise.

    Of the `sampled` requests it answered `compared`, failed on `errors` and was not asked about `dropped`.
    """

    digest: Annotated[bytes, Meta(min_length=32, max_length=32)] = msgspec.field(name="d")
    variant: Short = msgspec.field(name="v")
    sampled: Natural = msgspec.field(name="n")
    compared: Natural = msgspec.field(name="c")
    errors: Natural = msgspec.field(name="e")
    dropped: Natural = msgspec.field(name="x")
    crashes: Natural = msgspec.field(name="k")
    outputs: Annotated[tuple[ShadowOutput, ...], Meta(max_length=64)] = msgspec.field(name="o", default=())


class LabelCounters(Struct, frozen=True, kw_only=True):
    """Late labels since boot that met a prediction of one (model, digest, variant), and those that agreed with it."""

    matched: Natural = msgspec.field(name="m")
    correct: Natural = msgspec.field(name="c")


class ModelCounters(Struct, frozen=True, kw_only=True):
    """Counters of one (model, digest, variant) since boot; they only rise."""

    name: ModelName = msgspec.field(name="m")
    digest: Annotated[bytes, Meta(min_length=32, max_length=32)] = msgspec.field(name="d")
    variant: Short = msgspec.field(name="v")
    requests: Natural = msgspec.field(name="r")
    errors: Natural = msgspec.field(name="e")
    latency_sum_us: Natural = msgspec.field(name="s")
    latency_counts: Annotated[tuple[Natural, ...], Meta(max_length=len(LATENCY_EDGES_S) + 1)] = msgspec.field(name="l")
    """One count a bucket of `LATENCY_EDGES_S`; zeros at the end are left out."""
    shadows: Annotated[tuple[ShadowCounters, ...], Meta(max_length=64)] | UnsetType = msgspec.field(
        name="w", default=UNSET
    )
    labels: LabelCounters | UnsetType = msgspec.field(name="y", default=UNSET)


class SystemGauges(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the box is; None, and left out, where it cannot be read."""

    temperature_c: float | None = msgspec.field(name="t", default=None)
    load_1m: float | None = msgspec.field(name="l", default=None)
    memory_available_bytes: Natural | None = msgspec.field(name="m", default=None)
    disk_free_bytes: Natural | None = msgspec.field(name="d", default=None)
    rss_bytes: Natural | None = msgspec.field(name="r", default=None)
    throttled_bits: Natural | None = msgspec.field(name="p", default=None)
    """As the Raspberry Pi's firmware tells them: 0 undervoltage, 1 frequency capped, 2 throttled, 3 soft temperature
    limit; 16 to 19 the same since the machine started."""
    storage_life_used_percent: Natural | None = msgspec.field(name="w", default=None)
    """Of the most worn eMMC, in steps of 10 and rounded up; 110 is beyond its life."""


class SpoolGauges(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How much waits on the device for an acknowledgement, and how much was dropped and written since boot.

    What may be None is left out by devices that do not count it.
    """

    waiting: Natural = msgspec.field(name="w")
    dropped: Natural = msgspec.field(name="x")
    unwritten: Natural | None = msgspec.field(name="o", default=None)
    """Of `dropped`, those that neither the day's budget of writes nor memory had room for."""
    written_bytes: Natural | None = msgspec.field(name="b", default=None)
    """What the spool has handed to storage, in blocks of 4,096 bytes."""


class Telemetry(Struct, frozen=True, kw_only=True):
    """One window: cumulative counters since boot, so that a lost window costs resolution and no data.

    Deduplicated by (device, boot, "telemetry", sequence); `floor` as in `Event`.
    """

    v: Literal[1] = 1
    boot: Annotated[bytes, Meta(min_length=8, max_length=8)] = msgspec.field(name="b")
    sequence: Positive = msgspec.field(name="n")
    floor: Positive = msgspec.field(name="f")
    time_s: Natural = msgspec.field(name="t")
    uptime_s: Natural = msgspec.field(name="u")
    models: Annotated[tuple[ModelCounters, ...], Meta(max_length=64)] = msgspec.field(name="m", default=())
    system: SystemGauges = msgspec.field(name="s", default=SystemGauges())
    spool: SpoolGauges = msgspec.field(name="q")
    shed: Natural = msgspec.field(name="h", default=0)
    """Models whose counters did not fit into `MAX_TELEMETRY_BYTES` this time."""
    unmatched_labels: Natural | UnsetType = msgspec.field(name="y", default=UNSET)
    """Late labels since boot for which no prediction waited; left out where none ever came."""


class _VersionOnly(Struct):
    v: int


def encode_control(message: Struct) -> bytes:
    """Write a control message as canonical JSON.

    Raises:
        MessageError: it is larger than `MAX_CONTROL_BYTES`.
    """
    data = canonical.encode(message)
    if len(data) > MAX_CONTROL_BYTES:
        raise MessageError(f"{type(message).__name__}: {len(data)} bytes, the limit is {MAX_CONTROL_BYTES}")
    return data


def decode_control(data: bytes, kind: type[Message]) -> Message:
    """Read a control message.

    Raises:
        MessageError: too large, not JSON, another major version, or a field is missing or of the wrong kind.
    """
    return _decode(data, kind, limit=MAX_CONTROL_BYTES, decoder=msgspec.json.decode)


def encode_telemetry(message: Telemetry) -> bytes:
    """Write one telemetry window as msgpack.

    Raises:
        MessageError: it is larger than `MAX_TELEMETRY_BYTES`.
    """
    data = msgspec.msgpack.encode(message)
    if len(data) > MAX_TELEMETRY_BYTES:
        raise MessageError(f"telemetry: {len(data)} bytes, the limit is {MAX_TELEMETRY_BYTES}: shed something first")
    return data


def decode_telemetry(data: bytes) -> Telemetry:
    """Read one telemetry window.

    Raises:
        MessageError: as `decode_control`.
    """
    return _decode(data, Telemetry, limit=MAX_TELEMETRY_BYTES, decoder=msgspec.msgpack.decode)


def _decode(data: bytes, kind: type[Message], *, limit: int, decoder: Callable[..., Any]) -> Message:
    if len(data) > limit:
        raise MessageError(f"{kind.__name__}: {len(data)} bytes, the limit is {limit}")
    try:
        found = decoder(data, type=_VersionOnly).v
        if found != VERSION:
            raise MessageError(f"{kind.__name__}: message version {found}, this edgemm reads {VERSION}: upgrade it")
        message: Message = decoder(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise MessageError(f"{kind.__name__}: {err}") from err
    return message
