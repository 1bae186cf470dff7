"""The journal of a model's update: writes its record before it is acted on, and spools each transition once.

A full disk never stops the device. The update then ends in memory with `no_space`. After a start, the record on disk,
which is older, leads to the old model or to the same update again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from msgspec.structs import replace

from edgemm.errors import EnvironmentFailure
from edgemm.reasons import Reason
from edgemm.states import TERMINAL, UpdateState
from edgemm_runtime.agent.state.documents import ModelFile, Transition
from edgemm_runtime.agent.update import machine
from edgemm_runtime.agent.update.events import Event, Trouble

_log = logging.getLogger(__name__)


class RecordStore(Protocol):
    """Keeps records durably."""

    def write_model(self, record: ModelFile) -> None:
        """Replace a model's record.

        Raises:
            EnvironmentFailure: the disk is full or failing.
        """


class Journal:
    """Applies events to records.

    `tell` spools a transition unless it was spooled before, and says whether the spool knows it now.
    """

    def __init__(self, store: RecordStore, *, tell: Callable[[str, Transition], bool]) -> None:
        self._store, self._tell = store, tell
        self._unsaved: set[str] = set()

    def apply(self, record: ModelFile, event: Event) -> ModelFile:
        """Return the record after an event, durable and told."""
        decided = machine.decide(record, event)
        if decided == record:
            return record
        try:
            self._store.write_model(decided)
        except EnvironmentFailure as err:
            _log.error("record not kept model=%s error=%s", record.name, err)
            decided = ended_without_disk(record, event, detail=str(err))
            self._unsaved.add(record.name)
        else:
            self._unsaved.discard(record.name)
        _log_change(record, decided)
        return self.retell(decided)

    def catch_up(self, record: ModelFile) -> ModelFile:
        """Write a record that is so far in memory only, and tell what could not be told: there may be room again."""
        if record.name in self._unsaved:
            try:
                self._store.write_model(record)
            except EnvironmentFailure:
                return record  # was logged when it happened first
            self._unsaved.discard(record.name)
        return self.retell(record)

    def retell(self, record: ModelFile) -> ModelFile:
        """Spool what may not be in the spool yet, in order; what is there leaves the record with its next write."""
        waiting = list(record.pending)
        while waiting and self._tell(record.name, waiting[0]):
            waiting.pop(0)
        return replace(record, pending=tuple(waiting)) if len(waiting) < len(record.pending) else record


def ended_without_disk(record: ModelFile, event: Event, *, detail: str) -> ModelFile:
    """Return the record, in memory, of an update whose next state cannot be kept on disk.

    A way out is taken as it is; a commit that is not durable is none, so the model is turned back.
    """
    decided = machine.decide(record, event)
    commits = machine.state(record) is UpdateState.PROBATION and machine.state(decided) is UpdateState.COMMITTED
    if not commits and machine.state(decided) in TERMINAL | {UpdateState.ROLLING_BACK}:
        return decided
    trouble = Trouble(Reason.NO_SPACE, detail)
    ended = machine.decide(record, trouble)
    return ended if ended != record else machine.decide(decided, trouble)


def _log_change(before: ModelFile, after: ModelFile) -> None:
    for told in after.pending:
        if told.serial > before.serial:
            _log.info(
                "update model=%s version=%s digest=%.12s from=%s to=%s cause=%s detail=%s",
                after.name, told.version, told.digest, told.from_state, told.to_state, told.cause, told.detail,
            )  # fmt: skip
