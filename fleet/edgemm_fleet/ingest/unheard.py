"""Reports that a broker may have lost: devices whose events tell of a state that no report has told.

A broker that passes on more than the manager can follow drops what it has no room for. Events are sent until they are
acknowledged; a `reported` is sent once, and a device that has nothing more to say would be taken for unfinished for
ever. So of each device that told a transition it is looked, a while later, whether a report has told it too. One whose
report has not is sent what it knows once more, which it answers with a report.

All of it is in memory: a manager that starts anew hears from the broker what is retained.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from edgemm.messages import Event, Reported
from edgemm.reasons import Reason
from edgemm.states import TERMINAL, UpdateState
from edgemm_fleet.records.records import DesiredRecord
from edgemm_fleet.store import Transaction, desired, reported
from edgemm_fleet.store.database import after_commit

_LOOK_AFTER_S = 5.0
"""A report comes a moment after, or before, the event of the same transition."""
_AGAIN_AFTER_S = 30.0
"""A device answers what it knows already after a pause."""
_MOST_TIMES = 10
_MOST = 200_000
_AT_ONCE = 500
_ON_THE_WAY = (
    UpdateState.ACCEPTED,
    UpdateState.DOWNLOADING,
    UpdateState.VERIFIED,
    UpdateState.STAGED,
    UpdateState.ACTIVATING,
    UpdateState.PROBATION,
    UpdateState.ROLLING_BACK,
)
"""In this order alone does a device go through them within one start and one attempt, and leaves some out."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Told:
    """The last transition that a device told by an event."""

    event: Event
    look_at: float
    asked: int = 0


class UnheardReports:
    """Who is to be looked at; safe to use from the ingest's thread and the clock's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: OrderedDict[str, _Told] = OrderedDict()
        self._asked: OrderedDict[str, _Told] = OrderedDict()
        """Those that were asked already, and are looked at again."""

    def told(self, events: Iterable[Event], *, now: float) -> None:
        """Note transitions that were told by events, in the order in which they came."""
        with self._lock:
            for event in events:
                if event.model is None or event.to_state is None:
                    continue
                self._asked.pop(event.device, None)
                self._told[event.device] = _Told(event, now + _LOOK_AFTER_S)
                self._told.move_to_end(event.device)
            while len(self._told) > _MOST:
                self._told.popitem(last=False)

    def ask(self, tx: Transaction, *, now: float) -> int:
        """Have those asked whose report is missing, some at a time; return how many that were.

        All of them wait on where the transaction is undone.
        """
        looked = self._due(now)
        newest = reported.of(tx, sorted(looked))
        silent = {
            device: told
            for device, told in looked.items()
            if not tells(newest[device].reported if device in newest else None, told.event)
        }
        current = desired.of(tx, sorted(silent))
        silent = {
            device: told
            for device, told in silent.items()
            if device in current and _can_be_asked(current[device], told.event)
        }
        desired.mark_unsent(tx, silent)
        after_commit(tx, lambda: self._note_asked(looked, silent, now=now))
        return len(silent)

    def _due(self, now: float) -> dict[str, _Told]:
        found: dict[str, _Told] = {}
        with self._lock:
            for waiting in (self._told, self._asked):
                for device, told in waiting.items():
                    later = 0 < told.look_at - now <= _AGAIN_AFTER_S  # a clock that was set back makes nobody wait
                    if later or len(found) >= _AT_ONCE:
                        break
                    found[device] = told
        return found

    def _note_asked(self, looked: dict[str, _Told], silent: dict[str, _Told], *, now: float) -> None:
        if silent:
            said = "reports_missing devices=%d: the broker dropped them, or is late; they are asked again"
            _log.warning(said, len(silent))
        with self._lock:
            for waiting in (self._told, self._asked):
                for device, told in looked.items():
                    if waiting.get(device) is told:  # else it told another transition meanwhile
                        del waiting[device]
            for device, told in silent.items():
                if told.asked < _MOST_TIMES and device not in self._told:
                    self._asked[device] = _Told(told.event, now + _AGAIN_AFTER_S, told.asked + 1)


def _can_be_asked(current: DesiredRecord, event: Event) -> bool:
    """Tell whether the update that an event is of is still what the device is told, and can be told again."""
    if current.refusal is not None and current.refusal.cause == Reason.DESIRED_TOO_LARGE:
        return False
    update = (event.model, event.digest, event.attempt)
    return any((model.name, model.digest, model.attempt) == update for model in current.desired.models)


def tells(report: Reported | None, event: Event) -> bool:
    """Tell whether a device's newest report is at least as new as a transition of this event, as far as can be seen.

    An event of an earlier start is: it waited in the spool. So is one of an update that the report has ended.
    """
    if report is None:
        return False
    if report.boot != event.boot:
        return report.boot_count > event.boot_count
    for model in report.models:
        if model.name == event.model and (model.digest, model.attempt) == (event.digest, event.attempt):
            return model.state == event.to_state or model.state in TERMINAL or _is_past(model.state, event.to_state)
    return False


def _is_past(state: UpdateState, other: UpdateState | None) -> bool:
    known = state in _ON_THE_WAY and other in _ON_THE_WAY
    return known and _ON_THE_WAY.index(state) > _ON_THE_WAY.index(other)
