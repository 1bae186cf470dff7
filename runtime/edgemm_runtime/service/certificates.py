"""The TLS certificates that `edgemm doctor` looks at: those that are given, and those of installed services."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from edgemm.errors import InputError
from edgemm_runtime.certificates.server_certificate import SOON_S
from edgemm_runtime.certificates.server_tls import read_certificate_end
from edgemm_runtime.service.installation import places
from edgemm_runtime.service.unit import Scope, certificate_of

_DAY_S = 86_400


class CertificateState(Struct, frozen=True):
    """One certificate: when it ends (ISO 8601), the days until then, and what is wrong with it, if anything."""

    file: str
    ends: str | None
    days: float | None
    problem: str | None

    @property
    def ended(self) -> bool:
        """Whether clients refuse it by now."""
        return self.days is not None and self.days < 0


def installed_certificates(environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield the certificates of the services that are installed for the system and for this user."""
    for scope in Scope:
        try:
            unit = places(scope, environment).unit.read_text("utf-8")
        except (OSError, RuntimeError, UnicodeDecodeError):  # none, or of no home folder
            continue
        if (found := certificate_of(unit)) is not None:
            yield found


def examine_certificates(files: Iterable[Path]) -> tuple[CertificateState, ...]:
    """Return how each certificate is, each once, by this machine's clock."""
    return tuple(_examine(file) for file in dict.fromkeys(files))


def _examine(file: Path) -> CertificateState:
    try:
        ends = read_certificate_end(file)
    except InputError as err:
        return CertificateState(str(file), None, None, str(err).partition(f"{file}: ")[2] or str(err))
    remaining_s = ends.timestamp() - time.time()
    problem = None
    if remaining_s < 0:
        problem = "has ended: clients refuse it; renew it, then reload the service"
    elif remaining_s < SOON_S:
        problem = "ends soon: renew it, then reload the service"
    return CertificateState(str(file), ends.isoformat(), round(remaining_s / _DAY_S, 1), problem)
