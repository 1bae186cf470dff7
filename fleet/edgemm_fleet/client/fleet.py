"""The client class `FleetClient`: every operation of the API as a typed method.

Lists are iterators that fetch page after page as they are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Self, TypeVar
from urllib.parse import quote

from msgspec import UNSET

from edgemm.errors import InputError, NotFoundError
from edgemm.messages import Desired
from edgemm.transport.patience import HttpPatience
from edgemm.trust.enrolment import BLOB_PATH
from edgemm_fleet.api.messages import (
    ActionRequest,
    Authorisation,
    AuthorisationRequest,
    BlobsRequest,
    ClearShadowRequest,
    CreatedPerson,
    CreatedToken,
    DeviceDetail,
    DevicePage,
    DeviceShadow,
    DeviceSummary,
    FleetStatus,
    LabelsRequest,
    LabelWords,
    Me,
    MissingBlobs,
    ModelDetail,
    NextRequest,
    Nothing,
    PauseRequest,
    PersonRequest,
    Preview,
    PublishRequest,
    ReasonRequest,
    RoleRequest,
    RolloutDetail,
    RolloutRequest,
    ShadowChange,
    ShadowRequest,
    TargetsRequest,
    Tidied,
    TokenRequest,
    WithdrawalRequest,
    Withdrawn,
)
from edgemm_fleet.api.telemetry import HealthHour
from edgemm_fleet.client.api_connection import ApiConnection
from edgemm_fleet.client.profile import Profile
from edgemm_fleet.records.members import Member
from edgemm_fleet.records.progress import Rollout
from edgemm_fleet.records.records import (
    ActionRecord,
    AuditRecord,
    Device,
    EnrolmentTokenRecord,
    EventRecord,
    ModelRecord,
    Page,
    PersonToken,
    VersionRecord,
)

Item = TypeVar("Item")
_API = "/api/v1"
_PAGE = 500


class FleetClient:
    """One fleet, as one person; a context manager that closes its connections.

    All methods raise EnvironmentFailure where the server cannot be reached, TrustError where it is not the pinned one,
    and RequestError or PermissionDeniedError with the server's message where it refused.
    """

    def __init__(self, profile: Profile, *, patience: HttpPatience | None = None) -> None:
        self.profile = profile
        self.connection = ApiConnection(
            profile.url, token=profile.token, tls_fingerprint=profile.tls_fingerprint, patience=patience
        )

    def now(self) -> float:
        """Return the time at the server, by its last answer."""
        return self.connection.now()

    def moment(self) -> datetime:
        """Return the time of something that is signed now.

        Raises:
            EnvironmentFailure: the clocks here and at the server show other times.
        """
        self.connection.check_clocks()
        return datetime.now(UTC)

    def me(self) -> Me:
        """Return whose token this is."""
        return self.connection.call("GET", f"{_API}/me", Me)

    def status(self) -> FleetStatus:
        """Return how the fleet is, and what ends soon."""
        return self.connection.call("GET", f"{_API}/status", FleetStatus)

    def create_token(self, request: TokenRequest) -> CreatedToken:
        """Make an enrolment token."""
        return self.connection.call("POST", f"{_API}/tokens", CreatedToken, body=request)

    def tokens(self) -> Iterator[EnrolmentTokenRecord]:
        """Yield all enrolment tokens."""
        return self._all("/tokens", Page[EnrolmentTokenRecord])

    def revoke_token(self, token: str) -> None:
        """Let no further device in by an enrolment token."""
        self._delete(f"/tokens/{_part(token)}")

    def add_person(self, request: PersonRequest) -> CreatedPerson:
        """Make a token for a person."""
        return self.connection.call("POST", f"{_API}/people", CreatedPerson, body=request)

    def people(self) -> Iterator[PersonToken]:
        """Yield all tokens of people."""
        return self._all("/people", Page[PersonToken])

    def revoke_person(self, token: str) -> None:
        """End a person's token."""
        self._delete(f"/people/{_part(token)}")

    def devices(self, *, where: str | None = None) -> Iterator[DeviceSummary]:
        """Yield the devices by id; those that a filter means."""
        return self._all("/devices", Page[DeviceSummary], where=where)

    def count_devices(self, *, where: str | None = None) -> int:
        """Return how many devices there are; how many a filter means."""
        page = self.connection.call("GET", f"{_API}/devices", DevicePage, where=where, limit=1, count="true")
        return 0 if page.matching is UNSET else page.matching

    def label_words(self, label: str | None) -> LabelWords:
        """Return the names of the labels that devices have, and values of one of them."""
        return self.connection.call("GET", f"{_API}/labels", LabelWords, label=label)

    def device(self, device: str) -> DeviceDetail:
        """Return everything about one device."""
        return self.connection.call("GET", f"{_API}/devices/{_part(device)}", DeviceDetail)

    def desired(self, device: str) -> Desired:
        """Return what the fleet wants of a device."""
        return self.connection.call("GET", f"{_API}/devices/{_part(device)}/desired", Desired)

    def events(self, device: str) -> Iterator[EventRecord]:
        """Yield a device's events, newest first."""
        return self._all(f"/devices/{_part(device)}/events", Page[EventRecord])

    def history(self, device: str, *, since: float | None = None) -> Iterator[HealthHour]:
        """Yield how a device was, hour by hour, newest first; since a time, in seconds since the epoch."""
        return self._all(f"/devices/{_part(device)}/history", Page[HealthHour], since=since)

    def label_device(self, device: str, request: LabelsRequest) -> Device:
        """Set and take off labels."""
        return self.connection.call("PATCH", f"{_API}/devices/{_part(device)}/labels", Device, body=request)

    def act(self, device: str, request: ActionRequest) -> ActionRecord:
        """Ask a device to do something once."""
        return self.connection.call("POST", f"{_API}/devices/{_part(device)}/actions", ActionRecord, body=request)

    def action(self, device: str, action: str) -> ActionRecord:
        """Return one action of a device."""
        return self.connection.call("GET", f"{_API}/devices/{_part(device)}/actions/{_part(action)}", ActionRecord)

    def actions(self, device: str) -> Iterator[ActionRecord]:
        """Yield what a device was asked to do, newest first."""
        return self._all(f"/devices/{_part(device)}/actions", Page[ActionRecord])

    def remove_device(self, device: str) -> None:
        """End all rights of a device."""
        self._delete(f"/devices/{_part(device)}")

    def models(self) -> Iterator[ModelRecord]:
        """Yield all models by name."""
        return self._all("/models", Page[ModelRecord])

    def model(self, model: str) -> ModelDetail:
        """Return a model with its versions."""
        return self.connection.call("GET", f"{_API}/models/{_part(model)}", ModelDetail)

    def versions(self, model: str) -> Iterator[VersionRecord]:
        """Yield all versions of a model, the highest first."""
        return self._all(f"/models/{_part(model)}/versions", Page[VersionRecord])

    def version(self, model: str, version: str) -> VersionRecord:
        """Return one version of a model."""
        path = f"{_API}/models/{_part(model)}/versions/{_part(version)}"
        return self.connection.call("GET", path, VersionRecord)

    def authorise(self, model: str, request: AuthorisationRequest) -> Authorisation:
        """Let a key publish a model, by the targets key on the server."""
        return self.connection.call("POST", f"{_API}/models/{_part(model)}/authorization", Authorisation, body=request)

    def deprive(self, model: str, key_id: str) -> None:
        """Let a key publish a model no more, by the targets key on the server."""
        self._delete(f"/models/{_part(model)}/authorization/{_part(key_id)}")

    def renew_role(self, model: str, request: RoleRequest) -> None:
        """Hand in a model's role that was signed anew."""
        self.connection.call("PUT", f"{_API}/models/{_part(model)}/role", Nothing, body=request)

    def withdraw(self, model: str, request: WithdrawalRequest) -> Withdrawn:
        """Hand in a model's role from which versions were withdrawn."""
        return self.connection.call("PUT", f"{_API}/models/{_part(model)}/withdrawal", Withdrawn, body=request)

    def tidy_models(self) -> Tidied:
        """Withdraw the authorisations that were never used, by the targets key on the server."""
        return self.connection.call("POST", f"{_API}/trust/tidy", Tidied)

    def put_targets(self, request: TargetsRequest) -> None:
        """Hand in a targets role that was signed offline."""
        self.connection.call("PUT", f"{_API}/trust/targets", Nothing, body=request)

    def missing_blobs(self, digests: Iterable[str]) -> tuple[str, ...]:
        """Return those of these blobs that the server does not have."""
        request = BlobsRequest(digests=tuple(digests))
        return self.connection.call("POST", f"{_API}/blobs/missing", MissingBlobs, body=request).digests

    def upload_blob(self, digest: str, pieces: Iterable[bytes], *, size: int) -> None:
        """Upload one blob of `size` bytes."""
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        self.connection.send("PUT", BLOB_PATH + digest, body=pieces, headers=headers)

    def publish(self, model: str, version: str, request: PublishRequest) -> VersionRecord:
        """Hand in a signed version."""
        path = f"{_API}/models/{_part(model)}/versions/{_part(version)}"
        return self.connection.call("PUT", path, VersionRecord, body=request)

    def set_shadow(self, model: str, request: ShadowRequest) -> ShadowChange:
        """Want a version as a shadow beside a model."""
        return self.connection.call("PUT", f"{_API}/models/{_part(model)}/shadow", ShadowChange, body=request)

    def clear_shadow(self, model: str, request: ClearShadowRequest) -> ShadowChange:
        """Want no shadow beside a model any more."""
        return self.connection.call("POST", f"{_API}/models/{_part(model)}/shadow/clear", ShadowChange, body=request)

    def shadows(self, model: str) -> Iterator[DeviceShadow]:
        """Yield the shadows beside a model by device, with what they found."""
        return self._all(f"/models/{_part(model)}/shadows", Page[DeviceShadow])

    def create_rollout(self, request: RolloutRequest) -> Rollout:
        """Draft a rollout."""
        return self.connection.call("POST", f"{_API}/rollouts", Rollout, body=request)

    def rollouts(self) -> Iterator[Rollout]:
        """Yield all rollouts, newest first."""
        return self._all("/rollouts", Page[Rollout])

    def rollout(self, rollout: str) -> RolloutDetail:
        """Return a rollout and how far its groups are."""
        return self.connection.call("GET", f"{_API}/rollouts/{_part(rollout)}", RolloutDetail)

    def members(self, rollout: str, *, state: str | None = None) -> Iterator[Member]:
        """Yield a rollout's members by device; those in one state."""
        return self._all(f"/rollouts/{_part(rollout)}/members", Page[Member], state=state)

    def preview(self, rollout: str) -> Preview:
        """Return what a rollout would do if it started now."""
        return self.connection.call("GET", f"{_API}/rollouts/{_part(rollout)}/preview", Preview)

    def start_rollout(self, rollout: str) -> Rollout:
        """Start a rollout."""
        return self._act(rollout, "start")

    def pause_rollout(self, rollout: str, *, reason: str, for_s: float) -> Rollout:
        """Pause a rollout for so long at most."""
        path = f"{_API}/rollouts/{_part(rollout)}/pause"
        return self.connection.call("POST", path, Rollout, body=PauseRequest(reason=reason, for_s=for_s))

    def resume_rollout(self, rollout: str) -> Rollout:
        """Resume a paused rollout."""
        return self._act(rollout, "resume")

    def start_next_group(self, rollout: str, *, after: int | None) -> Rollout:
        """Start the group after one, by its index, now."""
        path = f"{_API}/rollouts/{_part(rollout)}/next"
        return self.connection.call("POST", path, Rollout, body=NextRequest(after=after))

    def halt_rollout(self, rollout: str, *, reason: str) -> Rollout:
        """Halt a rollout."""
        path = f"{_API}/rollouts/{_part(rollout)}/halt"
        return self.connection.call("POST", path, Rollout, body=ReasonRequest(reason=reason))

    def roll_back_rollout(self, rollout: str) -> Rollout:
        """Bring every member of a rollout back to what it had before."""
        return self._act(rollout, "rollback")

    def cancel_rollout(self, rollout: str) -> Rollout:
        """End a rollout without going on or back."""
        return self._act(rollout, "cancel")

    def audit(self) -> Iterator[AuditRecord]:
        """Yield who did what, newest first."""
        return self._all("/audit", Page[AuditRecord])

    def close(self) -> None:
        """Close all connections."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _act(self, rollout: str, act: str) -> Rollout:
        return self.connection.call("POST", f"{_API}/rollouts/{_part(rollout)}/{act}", Rollout)

    def _delete(self, path: str) -> None:
        self.connection.call("DELETE", _API + path, Nothing)

    def _all(
        self,
        path: str,
        kind: type[Page[Item]],
        *,
        state: str | None = None,
        where: str | None = None,
        since: float | None = None,
    ) -> Iterator[Item]:
        after: str | None = None
        query = {"state": state, "where": where, "since": since}
        while True:
            page = self.connection.call("GET", _API + path, kind, body=None, after=after, limit=_PAGE, **query)
            yield from page.items
            if page.next is None:
                return
            after = page.next


def _part(text: str) -> str:
    """Write a name as one part of a path.

    Raises:
        InputError: there is none, or it is text that is no UTF-8: the path would be that of something else.
        NotFoundError: nothing can be called so.
    """
    if not text:
        raise InputError("expected a name or an id, found none: give the one that `list` shows")
    if "/" in text or text in {".", ".."}:
        raise NotFoundError(f"nothing in a fleet is called {text!r}: give a name or an id that `list` shows")
    return quote(text, safe="")
