"""The requests for one-off actions of a device; each is one transaction and one line of the audit log.

Most kinds travel in the device's `desired`; those of `ORDERED_KINDS` in messages of their own (`director.orders`).
"""

from __future__ import annotations

from collections.abc import Callable

from edgemm.errors import BadRequestError, ConflictError
from edgemm.messages import MAX_PENDING_ACTIONS, ORDERED_KINDS, Action, ActionKind
from edgemm_fleet.director.director import Director
from edgemm_fleet.records.records import ActionRecord
from edgemm_fleet.store import Store, Transaction, actions, audit, devices


class ActionRequests:
    """Puts actions into the store; `wake` is called after each, for it changes what a device is told.

    `order` is called with the device of one that is ordered.
    """

    def __init__(
        self,
        store: Store,
        director: Director,
        *,
        wake: Callable[[], None],
        order: Callable[[list[str]], None] = lambda _: None,
    ) -> None:
        self._store, self._director, self._wake, self._order = store, director, wake, order

    def add(self, device: str, action: Action, *, actor: str, now: float) -> ActionRecord:
        """Want something done once on a device that is enrolled; the same request again changes nothing.

        Raises:
            NotFoundError: no such device is enrolled.
            BadRequestError: only a self-test is about one model.
            ConflictError: the id is another action's, or too many wait for the device already.
        """
        if action.model is not None and action.kind != ActionKind.SELFTEST:
            raise BadRequestError(f"action {action.kind}: it is about the whole device; leave the model out")
        with self._store.write() as tx:
            devices.get_live(tx, device)
            known = actions.find(tx, action.id)
            if known is not None:
                return _same(known, device, action)
            self._check_room(tx, device)
            actions.add(tx, device, action, now=now)
            self._director.write(tx, [device], now=now)
            detail = " ".join(part for part in (action.kind, action.model, f"id {action.id}") if part)
            audit.add(tx, at=now, actor=actor, action="device.act", subject=device, detail=detail)
            added = actions.find(tx, action.id)
        assert added is not None
        if action.kind in ORDERED_KINDS:
            self._order([device])
        else:
            self._wake()
        return added

    def _check_room(self, tx: Transaction, device: str) -> None:
        if (waiting := actions.count_waiting(tx, device)) >= MAX_PENDING_ACTIONS:
            raise ConflictError(
                f"device {device}: {waiting} actions wait for it already, the limit is {MAX_PENDING_ACTIONS}; "
                "wait until it has reported some of them"
            )


def _same(known: ActionRecord, device: str, action: Action) -> ActionRecord:
    if (known.device, known.action) != (device, action):
        raise ConflictError(f"action {action.id}: this id is that of another action; choose another one")
    return known
