"""The director: writes each device's `desired` into the store, and signs it with the director key.

Everything here happens in the caller's transaction, so that a decision and the `desired` that follows from it are
stored together. `edgemm_fleet.director.outbox` sends the stored `desired`.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence

from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner

from edgemm import canonical
from edgemm.errors import ConflictError, MessageError
from edgemm.messages import (
    MAX_CONTROL_BYTES,
    MAX_MODELS,
    MAX_PENDING_ACTIONS,
    ORDERED_KINDS,
    Action,
    ActionOrder,
    Desired,
    DesiredModel,
    DesiredShadow,
)
from edgemm.messages.generations import NONCES
from edgemm.reasons import Reason
from edgemm.trust import signing
from edgemm.trust.signing import PayloadType
from edgemm_fleet.director.composition import Numbering, Validity, WantedState, compose
from edgemm_fleet.records.records import DesiredRecord, DesiredRefusal
from edgemm_fleet.store import Transaction, actions, assignments, desired, notes, reported, rollouts, shadows

_RENEWALS_AT_ONCE = 1000
_ENVELOPE_BYTES = 1024
"""More than what an envelope and the validity add to the content."""


class Director:
    """Composes and signs `desired`."""

    def __init__(
        self, fleet: str, signer: CryptoSigner, *, validity: Validity | None = None, nonce: int | None = None
    ) -> None:
        self.fleet = fleet
        self._signer = signer
        self._validity = validity or Validity()
        self._nonce = secrets.randbelow(NONCES) if nonce is None else nonce

    def use(self, signer: CryptoSigner) -> None:
        """Sign with another key from now on."""
        self._signer = signer

    def write(self, tx: Transaction, ids: Sequence[str], *, now: float, anew: Collection[str] = ()) -> dict[str, int]:
        """Bring the `desired` of devices in line with their assignments; return device → its generation.

        Devices that were never told anything, and of which nothing is wanted, are missing. So are those of which the
        database has something that cannot be read, or would not be readable: they keep what they were told. Those in
        `anew` hold other content under their generation, and get a new one.

        Raises:
            ConflictError: more models are wanted of a device than a `desired` has room for.
        """
        current, reports = desired.of(tx, ids), reported.of(tx, ids)
        beside = shadows.of(tx, ids)
        incomplete = set[str]()
        assigned, waiting = assignments.of(tx, ids, incomplete=incomplete), actions.waiting(tx, ids)
        numbering = Numbering(notes.latest_time(tx, now=now), self._nonce)
        generations: dict[str, int] = {}
        changed: list[DesiredRecord] = []
        raised: dict[str, int] = {}
        for device in ids:
            if device in incomplete:
                continue
            if (models := len(assigned.get(device, {}))) > MAX_MODELS:
                raise ConflictError(
                    f"device {device}: {models} models would be wanted of it, the limit is {MAX_MODELS}: "
                    "roll back the first rollout of one that it can do without"
                )
            told = current.get(device)
            wanted = WantedState(
                fleet=self.fleet,
                device=device,
                models=_with_shadows(assigned.get(device, {}), beside.get(device, {})),
                actions=_not_ordered([record.action for record in waiting.get(device, ())]),
            )
            new = compose(
                wanted,
                current=told.desired if told else None,
                highest_reported=reports[device].highest_generation if device in reports else 0,
                numbering=numbering,
                validity=self._validity,
                now=now,
                anew=device in anew,
            )
            if new is not None:
                record = self._record(new, told, now=now)
                changed.append(record)
                if record.tries:
                    raised[device] = new.generation
            if (standing := new or (told.desired if told else None)) is not None:
                generations[device] = standing.generation
        if changed:
            for device in desired.put(tx, changed):
                del generations[device]
                raised.pop(device, None)
            notes.keep_time(tx, numbering.time_s)
            rollouts.raise_generations(tx, raised)
        return generations

    def _record(self, new: Desired, told: DesiredRecord | None, *, now: float) -> DesiredRecord:
        """Return what is to be stored; where it says what was told already, under another number, the tries go on."""
        content = new.content()
        before = told.desired if told is not None else None
        renumbered = (
            before is not None
            and before.generation != new.generation
            and (before.models, before.actions) == (new.models, new.actions)
        )
        too_large = self._too_large(new, len(content), now=now)
        return DesiredRecord(
            desired=new,
            unsent=too_large is None,
            content_hash=canonical.sha256(content),
            tries=told.tries + 1 if told is not None and renumbered else 0,
            refusal=too_large or _distrust(told, new),
        )

    def _too_large(self, new: Desired, content_bytes: int, *, now: float) -> DesiredRefusal | None:
        """Tell why a `desired` cannot be sent; where it comes near the limit, it is signed to know."""
        if content_bytes * 4 < (MAX_CONTROL_BYTES - _ENVELOPE_BYTES) * 3:
            return None
        try:
            self.seal(new)
        except MessageError as err:
            return DesiredRefusal(cause=Reason.DESIRED_TOO_LARGE, generation=new.generation, detail=str(err), at=now)
        return None

    def renew(self, tx: Transaction, *, now: float) -> int:
        """Renew what expires soon or was dated by a clock that was ahead, 1,000 at most; return how many that were."""
        before, after = now + self._validity.renew_before_s, now + self._validity.latest_s
        due = desired.badly_dated(tx, before=before, after=after, limit=_RENEWALS_AT_ONCE)
        self.write(tx, due, now=now)
        return len(due)

    def seal(self, wanted: Desired) -> bytes:
        """Sign a `desired` for the wire."""
        return signing.seal(wanted, PayloadType.DESIRED, self._signer)

    def seal_order(self, order: ActionOrder) -> bytes:
        """Sign an order for the wire."""
        return signing.seal(order, PayloadType.ACTION, self._signer)


def _distrust(told: DesiredRecord | None, new: Desired) -> DesiredRefusal | None:
    """Return that a device does not trust the director's key: whatever it is told, until it takes something."""
    if told is None or told.refusal is None or told.refusal.cause != Reason.DESIRED_UNTRUSTED:
        return None
    return replace(told.refusal, generation=new.generation)


def _not_ordered(actions: Sequence[Action]) -> list[Action]:
    return [action for action in actions if action.kind not in ORDERED_KINDS][:MAX_PENDING_ACTIONS]


def _with_shadows(models: Mapping[str, DesiredModel], beside: Mapping[str, DesiredShadow]) -> list[DesiredModel]:
    """Name each model's shadow, but for one that is what the model itself is to become."""
    return [
        replace(model, config=replace(model.config, shadow=shadow))
        if (shadow := beside.get(name)) is not None and shadow.digest != model.digest
        else model
        for name, model in models.items()
    ]
