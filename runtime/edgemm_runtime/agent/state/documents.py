"""The files in a device's state folder, one Struct each; canonical JSON, replaced durably.

    identity.json       IdentityFile    who this device is: written once, after enrolment (mode 0600)
    device.key          PEM             its own Ed25519 key: made first, before it is sent anywhere (mode 0600)
    boot.json           BootFile        the number of the last start
    time.json           TimeFile        the last trusted time, and how far the system clock is known to be ahead
    director.json       DirectorFile    who may sign `desired`: the TUF target as it was last fetched
    addresses.json      FleetAddresses  where the fleet is: the TUF target as it was last fetched
    desired.json        –               the last accepted DSSE envelope, byte for byte as received
    actions.json        ActionsFile     results of one-off actions, by id
    models/NAME.json    ModelFile       where one model stands; written before it is acted on
    manifests/SHA.json  –               manifests by digest
    blobs/SHA           –               blobs by digest
    partial/SHA         –               the first bytes of a blob; its length is how far the download came
    spool.sqlite        –               events and telemetry that wait for an acknowledgement
    tuf/                –               python-tuf's metadata cache

`v` is the major version of each document: unknown fields are ignored, and a document of a newer major is never read.
`state/files.py` has the number of each shape, and what becomes of a newer one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from edgemm.bundle.manifest import Digest, ModelName, VersionText
from edgemm.messages import ActionResult, DesiredModel, Detail, Natural, Positive, Short
from edgemm.states import UpdateState
from edgemm.times import TimeText
from edgemm.topics import DeviceId, FleetName
from edgemm.trust.enrolment import BrokerAccess


class IdentityFile(Struct, frozen=True, kw_only=True):
    """Who the device is: what enrolment answered, and what the token pinned."""

    v: Literal[1] = 1
    url: str
    tls_fingerprint: str | None = None
    token_id: str
    """Which token it enrolled with; another one enrols again with the same key."""
    fleet: FleetName
    device: DeviceId
    bearer: str
    broker: BrokerAccess
    root: str
    """The TUF root document that the token's digest vouches for."""


class BootFile(Struct, frozen=True, kw_only=True):
    """Number of the agent's last start, which rises with each; orders the reports of different boots."""

    v: Literal[1] = 1
    count: Positive


class TimeFile(Struct, frozen=True, kw_only=True):
    """The last trusted time that was worth a write; `ahead_s` and `since` as in `trusted_time.TimeMemory`."""

    v: Literal[1] = 1
    trusted: TimeText
    ahead_s: Positive | UnsetType = UNSET
    since: TimeText | UnsetType = UNSET


class DirectorFile(Struct, frozen=True, kw_only=True):
    """The TUF target `director.json`: the keys that may sign `desired`, as TUF key documents."""

    v: Literal[1] = 1
    fleet: FleetName
    keys: Annotated[tuple[dict[str, Any], ...], Meta(min_length=1, max_length=8)]


class FleetDocuments(Struct, frozen=True):
    """What the fleet says of itself, signed by its targets key: the director's keys, and addresses if it names any."""

    director: bytes
    addresses: bytes | None = None


class ActionsFile(Struct, frozen=True, kw_only=True):
    """Results of one-off actions, oldest first: what is in here is not done again."""

    v: Literal[1] = 1
    results: tuple[ActionResult, ...] = ()


class Installed(Struct, frozen=True, kw_only=True):
    """One version of a model in one variant, as it serves or served here."""

    digest: Digest
    version: VersionText
    variant: Short
    threads: Annotated[int, Meta(ge=1, le=64)] = 1


class Failure(Struct, frozen=True, kw_only=True):
    """A terminal failure: the digest is not tried again below a higher attempt."""

    digest: Digest
    attempt: Positive
    state: UpdateState
    reason: Short
    detail: Detail = ""


class Update(Struct, frozen=True, kw_only=True):
    """The last update of a model: what was wanted, and how far it came."""

    target: DesiredModel
    state: UpdateState
    reason: Short | None = None
    detail: Detail | None = None
    variant: Short | None = None
    """The variant that was chosen, once it is."""
    power_losses: Natural = 0
    """Starts of the agent that found this update between activation and commit."""
    stopped_cleanly: bool = False
    """The agent was stopped on purpose meanwhile, which spends no attempt."""


class Transition(Struct, frozen=True, kw_only=True):
    """Something to tell the fleet once; `serial` numbers a model's transitions for ever."""

    serial: Positive
    cause: Short
    detail: Detail = ""
    digest: Digest | None = None
    version: VersionText | None = None
    attempt: Positive | None = None
    rollout: Short | None = None
    from_state: UpdateState | None = None
    to_state: UpdateState | None = None


class ModelFile(Struct, frozen=True, kw_only=True):
    """Where one model stands.

    `active` is what a start of the agent serves; `previous` what it falls back to. `pending` are transitions that
    may not be in the spool yet: they are spooled again after a start, and dropped there if they were.
    """

    v: Literal[1] = 1
    name: ModelName
    update: Update | None = None
    active: Installed | None = None
    previous: Installed | None = None
    failures: tuple[Failure, ...] = ()
    serial: Natural = 0
    pending: tuple[Transition, ...] = ()
