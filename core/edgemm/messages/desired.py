"""The message `desired`: the whole state that the fleet wants of one device. It travels in an envelope."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from edgemm import canonical
from edgemm.bundle.manifest import Digest, ModelName, VersionText
from edgemm.errors import MessageError
from edgemm.messages.scalars import Boot, Natural, Positive, Ratio, Seconds, Short
from edgemm.open_enum import OpenEnum
from edgemm.requirements import RequiredNames, unknown
from edgemm.times import TimeText
from edgemm.topics import DeviceId, FleetName


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


class VariantPolicy(OpenEnum):
    """In which order variants are tried where none is named: `auto` is the manifest's."""

    AUTO = "auto"


Variants = VariantPolicy | Annotated[tuple[str, ...], Meta(min_length=1, max_length=32)]
"""A policy, or ids of variants in order of preference."""


class DesiredShadow(Struct, frozen=True, kw_only=True):
    """A version to run beside the active one: it sees a share of the requests and answers none of them."""

    version: VersionText
    digest: Digest
    share: Annotated[float, Meta(gt=0, le=1)] = 0.05
    variants: Variants = VariantPolicy.AUTO
    requires: RequiredNames | UnsetType = UNSET

    @property
    def unknown(self) -> tuple[str, ...]:
        """What restricts this shadow and is not known here: it must not run."""
        return unknown_items(self.requires, self.variants)


class ModelConfig(Struct, frozen=True, kw_only=True):
    """How a device is to run one model; `requires` names what in it, or beside it, must not be ignored."""

    probation: Probation = Probation()
    threads: Annotated[int, Meta(ge=1, le=64)] = 1
    shadow: DesiredShadow | UnsetType = UNSET
    requires: RequiredNames | UnsetType = UNSET


class DesiredModel(Struct, frozen=True, kw_only=True):
    """One model that a device should run; `digest` is the bundle's identity."""

    name: ModelName
    version: VersionText
    digest: Digest
    attempt: Positive = 1
    variants: Variants = VariantPolicy.AUTO
    config: ModelConfig = ModelConfig()
    rollout: Short | None = None

    @property
    def unknown(self) -> tuple[str, ...]:
        """What restricts this model and is not known here: nothing of it may start."""
        return unknown_items(self.config.requires, self.variants)


class ActionKind(StrEnum):
    """What a device can be asked to do once; `Action.kind` is open, for devices of other versions know others."""

    DIAGNOSE = "diagnose"
    PRUNE = "prune"
    RESTART = "restart"
    SELFTEST = "selftest"
    SYNC_TIME = "sync-time"


ORDERED_KINDS = frozenset({ActionKind.SYNC_TIME.value})
"""Kinds that travel in a message of their own: a device whose clock leapt refuses the `desired` with the others."""

MAX_MODELS = 64
"""Of one device: as many as a `desired` has room for."""

MAX_PENDING_ACTIONS = 32
"""Of one device: as many as a `desired` has room for."""


class Action(Struct, frozen=True, kw_only=True):
    """Something to do once: a kind of `ActionKind`; a device reports others as unsupported."""

    id: Short
    kind: Short
    model: ModelName | None = None


class ActionOrder(Struct, frozen=True, kw_only=True):
    """An action of a kind in `ORDERED_KINDS`; good for the named start of the device alone, and dated by nothing."""

    v: Literal[1] = 1
    fleet: FleetName
    device: DeviceId
    boot: Boot
    action: Action


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
    models: Annotated[tuple[DesiredModel, ...], Meta(max_length=MAX_MODELS)] = ()
    actions: Annotated[tuple[Action, ...], Meta(max_length=MAX_PENDING_ACTIONS)] = ()

    def content(self) -> bytes:
        """Return canonical bytes of everything but the validity; equal for a renewal."""
        return canonical.encode(msgspec.structs.replace(self, not_before="", expires=""))

    def content_hash(self) -> str:
        """Return the SHA-256 of `content`, which a device that acts on this echoes in `reported`."""
        return canonical.sha256(self.content())


def hash_of_payload(payload: bytes) -> str:
    """Return the `content_hash` of a `desired` as it came, with the fields of it that are not known here.

    Raises:
        MessageError: it is not the JSON of an object, or holds a number that canonical JSON has no room for.
    """
    try:
        document = msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise MessageError(f"desired: {canonical.fault(err, payload)}") from err
    return canonical.sha256(canonical.encode({**document, "not_before": "", "expires": ""}))


def unknown_items(requires: RequiredNames | UnsetType, variants: Variants) -> tuple[str, ...]:
    """Return what of this is not known here and must not be ignored: names, and a policy for variants."""
    policy = (f"variants={variants}",) if isinstance(variants, VariantPolicy) and not variants.known else ()
    return (*unknown(requires), *policy)
