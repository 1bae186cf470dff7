"""The records that the store hands out: frozen values, never rows."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from msgspec import Struct

from edgemm.messages import Action, Desired, Event, Reported, Telemetry
from edgemm.open_enum import OpenEnum

Item = TypeVar("Item")


class Page(Struct, Generic[Item], frozen=True, kw_only=True):
    """Part of a list; `next` is what to pass as `after` for the following part, None at the end."""

    items: tuple[Item, ...]
    next: str | None = None


class Role(OpenEnum):
    """What a person may do; each role's rights are the API's business. One that is not known here grants nothing."""

    ADMIN = "admin"
    OPERATOR = "operator"
    PUBLISHER = "publisher"
    VIEWER = "viewer"


class Presence(Struct, frozen=True, kw_only=True):
    """Whether a device is connected, and by which connection of which boot that is known.

    `previous_boot` and its last connection tell a late message of an ended boot from a second device;
    `duplicate_at` is when two boots of one identity were last seen alive at once. `doubted_at` is since when something
    that nobody signed was said of it that no report bears out; None: nothing was. Without a boot, it is since when
    a device that was let in anew is waited for.
    """

    online: bool = False
    boot: str | None = None
    boot_count: int = 0
    connection: int = 0
    last_seen_at: float | None = None
    duplicate_at: float | None = None
    previous_boot: str | None = None
    previous_connection: int = 0
    doubted_at: float | None = None


class Device(Struct, frozen=True, kw_only=True):
    """A device that enrolled; `key` is its public key document, `removed_at` when its rights ended."""

    id: str
    name: str
    labels: dict[str, str]
    key: dict[str, Any]
    key_id: str
    token_id: str
    runtime: str
    platform: str
    enrolled_at: float
    removed_at: float | None = None
    presence: Presence = Presence()


class EnrolmentTokenRecord(Struct, frozen=True, kw_only=True):
    """A token that lets devices in; `uses_allowed` None: any number; `root_version` is of the root that it pins."""

    id: str
    labels: dict[str, str]
    uses_allowed: int | None
    uses: int
    created_by: str
    created_at: float
    expires_at: float
    revoked_at: float | None = None
    root_version: int = 1


class PersonToken(Struct, frozen=True, kw_only=True):
    """A person's token; one person may have several."""

    id: str
    person: str
    role: Role
    created_at: float
    expires_at: float
    revoked_at: float | None = None


class ModelRecord(Struct, frozen=True, kw_only=True):
    """A model and who may publish it; `minimum_version` is the signed one of its role."""

    name: str
    publisher: dict[str, Any]
    minimum_version: str | None
    created_at: float


class VersionRecord(Struct, frozen=True, kw_only=True):
    """A published version; `size_bytes` is that of all its blobs.

    With `withdrawn_at` no device is told of it any more; its row stays, for its number is used up.
    """

    model: str
    version: str
    digest: str
    size_bytes: int
    published_by: str
    published_at: float
    withdrawn_at: float | None = None


class DesiredRefusal(Struct, frozen=True, kw_only=True):
    """Why a device does not act on the `desired` of this generation, in its own words or the manager's."""

    cause: str
    generation: int
    detail: str = ""
    at: float


class DesiredRecord(Struct, frozen=True, kw_only=True):
    """What the fleet wants of a device now, and whether the broker has yet to be told.

    `content_hash` is what a device that acts on it echoes; `tries` how often it was sent of late, `again_at` when it
    is looked at again: without an answer it is then sent once more, else the tries are forgotten (None: the device acts
    on it for long, or is away).
    """

    desired: Desired
    unsent: bool
    content_hash: str
    sent_at: float | None = None
    tries: int = 0
    again_at: float | None = None
    refusal: DesiredRefusal | None = None


class ReportedRecord(Struct, frozen=True, kw_only=True):
    """A device's newest report; `highest_generation` is the highest it ever reported.

    `told_generation` is what it had been told last when the report was taken (0: nothing).
    """

    reported: Reported
    highest_generation: int
    told_generation: int = 0
    received_at: float


class EventRecord(Struct, frozen=True, kw_only=True):
    """One stored event."""

    id: int
    event: Event
    received_at: float


class TelemetryRecord(Struct, frozen=True, kw_only=True):
    """One stored window."""

    id: int
    device: str
    telemetry: Telemetry
    received_at: float


class HealthRecord(Struct, frozen=True, kw_only=True):
    """How a device was in one hour, counted from the epoch: of the first window of it that is kept."""

    device: str
    hour: int
    boot: str
    sequence: int
    uptime_s: int
    requests: int
    errors: int
    temperature_c: float | None
    memory_available_bytes: int | None
    disk_free_bytes: int | None
    dropped: int


class ActionRecord(Struct, frozen=True, kw_only=True):
    """A one-off action of a device and what came of it (`ok` None: nothing yet)."""

    device: str
    action: Action
    created_at: float
    done_at: float | None
    ok: bool | None
    detail: str


class AuditRecord(Struct, frozen=True, kw_only=True):
    """Who did what to what."""

    id: int
    at: float
    actor: str
    action: str
    subject: str
    detail: str
