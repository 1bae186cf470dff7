"""The director: writes what a device is told into the store, and signs it with the director key.

Everything here happens in the caller's transaction, so that a decision and the `desired` that follows from it are
stored together. `edgemm_fleet.director.outbox` sends what is stored.
"""

from __future__ import annotations

from securesystemslib.signer import CryptoSigner

from edgemm import signing
from edgemm.messages import Desired
from edgemm.signing import PayloadType
from edgemm_fleet.director.composition import Validity, Wanted, compose
from edgemm_fleet.store import Transaction, actions, desired, reported

_RENEWALS_AT_ONCE = 1000
_MAX_ACTIONS = 32


class Director:
    """Composes and signs `desired`."""

    def __init__(self, fleet: str, signer: CryptoSigner, *, validity: Validity | None = None) -> None:
        self.fleet = fleet
        self._signer = signer
        self._validity = validity or Validity()

    def write(self, tx: Transaction, device: str, *, now: float) -> Desired | None:
        """Bring a device's `desired` in line with its assignments; return it, None if it was never told anything."""
        current = desired.find(tx, device)
        report = reported.find(tx, device)
        waiting = actions.waiting(tx, device)[:_MAX_ACTIONS]
        wanted = Wanted(
            fleet=self.fleet,
            device=device,
            models=list(desired.assigned(tx, device).values()),
            actions=[record.action for record in waiting],
        )
        changed = compose(
            wanted,
            current=current.desired if current else None,
            highest_reported=report.highest_generation if report else 0,
            validity=self._validity,
            now=now,
        )
        if changed is not None:
            desired.put(tx, changed)
            return changed
        return current.desired if current else None

    def renew(self, tx: Transaction, *, now: float) -> int:
        """Renew what expires soon, at most 1,000 devices at once; return how many were renewed."""
        due = desired.expiring(tx, before=now + self._validity.renew_before_s, limit=_RENEWALS_AT_ONCE)
        for device in due:
            self.write(tx, device, now=now)
        return len(due)

    def seal(self, wanted: Desired) -> bytes:
        """Sign a `desired` for the wire."""
        return signing.seal(wanted, PayloadType.DESIRED, self._signer)
