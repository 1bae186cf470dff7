"""The state of the HTTP application, and its limits; both are passed in when the application is started."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from edgemm.bundle.blobs import BlobFolder
from edgemm_fleet.broker.credentials import CredentialProvider
from edgemm_fleet.director.action_requests import ActionRequests
from edgemm_fleet.health.health_facts import HealthFacts, SignedRole
from edgemm_fleet.health.vitals import Vitals
from edgemm_fleet.rollout.operations import RolloutOperations
from edgemm_fleet.secrets.wrong_tokens import WrongTokens
from edgemm_fleet.shadows.operations import ShadowOperations
from edgemm_fleet.store.database import Store
from edgemm_fleet.trust.certificate import fingerprint
from edgemm_fleet.trust.fleet_expiries import FleetExpiries
from edgemm_fleet.trust.time_statements import TimeStatements
from edgemm_fleet.trust.version_repository import VersionRepository


@dataclass(frozen=True)
class ApiLimits:
    """What the server accepts in one request."""

    max_json_bytes: int = 256 * 1024
    """Of every JSON body but a publication."""

    max_publication_bytes: int = 32 * 1024 * 1024
    """A manifest and a role, as text within JSON."""

    max_blob_bytes: int = 2**32 - 1
    """One blob; a bundle is no larger."""


@dataclass(frozen=True)
class FleetState:
    """The parts of a running fleet manager that requests read and change."""

    fleet: str
    public_url: str
    store: Store
    repository: VersionRepository
    blobs: BlobFolder
    credentials: CredentialProvider
    secret: bytes
    rollouts: RolloutOperations
    shadows: ShadowOperations
    actions: ActionRequests
    time_statements: TimeStatements
    vitals: Vitals
    foreign_certificates: Mapping[str, str | Path] = field(default_factory=dict)
    """Certificates of others that the fleet relies on, in PEM or by their files, by whose they are."""
    limits: ApiLimits = ApiLimits()
    wrong_tokens: WrongTokens = field(default_factory=WrongTokens)
    clock: Callable[[], float] = time.time

    def facts(self, now: float) -> HealthFacts:
        """Return what there is to know of the manager's health."""
        signed = [SignedRole(name=n, ends_at=at, lifetime_s=life_s) for n, at, life_s in self.repository.renewed()]
        return self.vitals.facts(now=now, endings=self.expiries.all(now=now), signed=signed)

    @property
    def tls_fingerprint(self) -> str | None:
        """The SHA-256 of the certificate in use, None on plain loopback."""
        if not self.public_url.startswith("https:"):
            return None
        return fingerprint(self.repository.folder.certificate)

    @property
    def expiries(self) -> FleetExpiries:
        """What of this fleet ends."""
        tls = self.tls_fingerprint is not None
        return FleetExpiries(self.store, self.repository, tls=tls, foreign=self.foreign_certificates)


def moment(now: float) -> datetime:
    """Return seconds since the epoch as the aware datetime that TUF metadata takes."""
    return datetime.fromtimestamp(now, tz=UTC)
