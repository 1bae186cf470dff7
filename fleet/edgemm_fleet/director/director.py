"""The director: writes each device's `desired` into the store, and signs it with the director key.

Everything here happens in the caller's transaction, so that a decision and the `desired` that follows from it are
stored together. `edgemm_fleet.director.outbox` sends the stored `desired`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner

from edgemm.errors import ConflictError
from edgemm.messages import MAX_MODELS, MAX_PENDING_ACTIONS, Desired, DesiredModel, DesiredShadow
from edgemm.trust import signing
from edgemm.trust.signing import PayloadType
from edgemm_fleet.director.composition import Validity, WantedState, compose
from edgemm_fleet.store import Transaction, actions, assignments, desired, reported, shadows

_RENEWALS_AT_ONCE = 1000


class Director:
    """Composes and signs `desired`."""

    def __init__(self, fleet: str, signer: CryptoSigner, *, validity: Validity | None = None) -> None:
        self.fleet = fleet
        self._signer = signer
        self._validity = validity or Validity()

    def write(self, tx: Transaction, ids: Sequence[str], *, now: float) -> dict[str, int]:
        """Bring the `desired` of devices in line with their assignments; return device → its generation.

        Devices that were never told anything, and of which nothing is wanted, are missing.

        Raises:
            ConflictError: more models are wanted of a device than a `desired` has room for.
        """
        current, reports = desired.of(tx, ids), reported.of(tx, ids)
        beside = shadows.of(tx, ids)
        assigned, waiting = assignments.of(tx, ids), actions.waiting(tx, ids)
        generations: dict[str, int] = {}
        changed: list[Desired] = []
        for device in ids:
            if (models := len(assigned.get(device, {}))) > MAX_MODELS:
                raise ConflictError(
                    f"device {device}: {models} models would be wanted of it, the limit is {MAX_MODELS}: "
                    "roll back the first rollout of one that it can do without"
                )
            told = current[device].desired if device in current else None
            wanted = WantedState(
                fleet=self.fleet,
                device=device,
                models=_with_shadows(assigned.get(device, {}), beside.get(device, {})),
                actions=[record.action for record in waiting.get(device, ())[:MAX_PENDING_ACTIONS]],
            )
            highest = reports[device].highest_generation if device in reports else 0
            new = compose(wanted, current=told, highest_reported=highest, validity=self._validity, now=now)
            if new is not None:
                changed.append(new)
            if (standing := new or told) is not None:
                generations[device] = standing.generation
        desired.put(tx, changed)
        return generations

    def renew(self, tx: Transaction, *, now: float) -> int:
        """Renew what expires soon, at most 1,000 devices at once; return how many were renewed."""
        due = desired.expiring(tx, before=now + self._validity.renew_before_s, limit=_RENEWALS_AT_ONCE)
        self.write(tx, due, now=now)
        return len(due)

    def seal(self, wanted: Desired) -> bytes:
        """Sign a `desired` for the wire."""
        return signing.seal(wanted, PayloadType.DESIRED, self._signer)


def _with_shadows(models: Mapping[str, DesiredModel], beside: Mapping[str, DesiredShadow]) -> list[DesiredModel]:
    """Name each model's shadow, but for one that is what the model itself is to become."""
    return [
        replace(model, config=replace(model.config, shadow=shadow))
        if (shadow := beside.get(name)) is not None and shadow.digest != model.digest
        else model
        for name, model in models.items()
    ]
