"""A simulated device whose updates take their time: each state is entered when its shell says so."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from edgemm.messages import DesiredModel
from edgemm.states import UpdateState
from simulators.device import Outgoing, SimulatedDevice


@dataclass
class _Underway:
    model: DesiredModel
    states: deque[UpdateState]
    reason: str | None


@dataclass
class PacedDevice(SimulatedDevice):
    """As a `SimulatedDevice`; an update begins with what is told of it, and goes on by `advance`."""

    underway: dict[str, _Underway] = field(default_factory=dict)

    def restart(self) -> None:
        """Begin a new boot, and tell it by an event."""
        super().restart()
        self._event("agent_started")

    @property
    def waiting(self) -> int:
        """How many events and windows no acknowledgement has covered."""
        return len(self._spool)

    def next_state(self, name: str) -> UpdateState | None:
        """Return the state that an update of a model is to enter; None where none is under way."""
        found = self.underway.get(name)
        return None if found is None else found.states[0]

    def advance(self, name: str) -> list[Outgoing]:
        """Enter the next state; return what is published of it."""
        found = self.underway[name]
        state = found.states.popleft()
        if not found.states:
            del self.underway[name]
        before = self.reported[name].state if name in self.reported else None
        self._enter(found.model, state, reason=None if found.states else found.reason)
        return [self._transition(found.model, before, state), self.report()]

    def _update(self, model: DesiredModel) -> list[Outgoing]:
        active, found = self.active.get(model.name), self.underway.get(model.name)
        same = found is not None and (found.model.digest, found.model.attempt) == (model.digest, model.attempt)
        if same:
            return []
        self.underway.pop(model.name, None)
        settled = active is not None and active.digest == model.digest
        if settled or (model.name, model.digest, model.attempt) in self._failed:
            return super()._update(model)
        states, reason = self.outcomes.get(model.digest, self.default).value
        self.underway[model.name] = _Underway(model, deque(states), reason)
        return []
