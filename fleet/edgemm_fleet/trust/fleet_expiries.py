"""The expiries of a running fleet, gathered from its version repository, its certificates and its database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgemm.errors import InputError
from edgemm_fleet.records import expiries
from edgemm_fleet.records.expiries import MOST_TOKENS, WARNED_S, Expiry
from edgemm_fleet.store import enrolment_tokens, person_tokens
from edgemm_fleet.store.database import Store
from edgemm_fleet.trust.certificate import end_of
from edgemm_fleet.trust.version_repository import VersionRepository


@dataclass(frozen=True)
class FleetExpiries:
    """Looks at everything that ends; `foreign` are certificates of others in PEM, or their files, by whose they are."""

    store: Store
    repository: VersionRepository
    tls: bool = True
    foreign: Mapping[str, str | Path] | None = None

    def all(self, *, now: float) -> list[Expiry]:
        """Return everything that ends, however far ahead; of tokens those that end soon."""
        certificates = {whose: at for whose, pem in (self.foreign or {}).items() if (at := _end(pem)) is not None}
        if self.tls:
            certificates["server"] = end_of(self.repository.folder.certificate.read_text())
        with self.store.read() as tx:
            people = person_tokens.ending(tx, now=now, before=now + WARNED_S, lasted_s=WARNED_S, limit=MOST_TOKENS)
            joining = enrolment_tokens.ending(tx, now=now, before=now + WARNED_S, lasted_s=WARNED_S, limit=MOST_TOKENS)
            alone = person_tokens.administrators(tx, now=now) == 0
        return [
            *expiries.of_roles(self.repository.expiries()),
            *expiries.of_certificates(sorted(certificates.items())),
            *expiries.of_tokens(people, joining),
            *([expiries.no_administrator(now)] if alone else []),
        ]

    def near(self, *, now: float) -> list[Expiry]:
        """Return what ended or ends within 30 days, the next first."""
        return expiries.near(self.all(now=now), now=now)


def _end(certificate: str | Path) -> float | None:
    """Return when a certificate ends; None where its file cannot be read, which who uses it tells."""
    try:
        return end_of(certificate if isinstance(certificate, str) else certificate.read_text())
    except (OSError, UnicodeDecodeError, InputError):
        return None
