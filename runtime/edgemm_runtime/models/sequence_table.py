"""The table of the running sequences of one stateful model: which begin, go on, end and are forgotten. Pure.

    place = table.take(SequenceStep("door", start=True), now_s)
    table.give(place, now_s)

* A request begins a sequence with `start`, whatever ran under its id before. Without it, the sequence must run.
* `end` lets go of a sequence with the answer to that request; who names it afterwards must begin it anew.
* A sequence without a request for `idle_s` is forgotten. A failed one is, too: nobody knows its state.
* Time is an argument.

Source: the sequence extension of the Open Inference Protocol, as Triton's sequence batcher has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from edgemm.errors import BadRequestError, UnavailableError
from edgemm_runtime.models.sequence_limits import SequenceLimits

SequenceId: TypeAlias = int | str
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class SequenceStep:
    """What a request says of its sequence; 7 and "7" are two ids."""

    id: SequenceId
    start: bool = False
    end: bool = False


@dataclass(eq=False)
class Place(Generic[Entry]):
    """A sequence in the table: what it is, when it was last used, and how many requests have it now."""

    id: SequenceId
    entry: Entry
    used_s: float
    taken: int = 0


class SequenceTable(Generic[Entry]):
    """The sequences of the model `name`."""

    def __init__(self, name: str, limits: SequenceLimits) -> None:
        self._name, self._limits = name, limits
        self._running: dict[SequenceId, Place[Entry]] = {}
        self._leaving: set[Place[Entry]] = set()
        self.begun = 0
        """How many began."""
        self.expired = 0
        """How many were forgotten because they were idle."""

    def __len__(self) -> int:
        return len(self._running) + len(self._leaving)

    def places(self) -> list[Place[Entry]]:
        """Return all sequences, also those that a request still has and no other will find."""
        return [*self._running.values(), *self._leaving]

    def find(self, step: SequenceStep, now_s: float) -> Place[Entry] | None:
        """Take the sequence of a request; None where the request begins one, for which there is room.

        Raises:
            BadRequestError: it does not begin one, and none of its id runs.
            UnavailableError: it begins one, and as many run as may.
        """
        self.expire(now_s)
        found = self._running.get(step.id)
        if step.start:
            if found is None and len(self) >= self._limits.max_running:
                raise UnavailableError(
                    f"{len(self)} sequences of model {self._name!r} run, as many as may: end one with sequence_end, or "
                    f"try again later; one that is idle for {self._limits.idle_s:g} s ends by itself"
                )
            return None
        if found is None:
            raise unknown_sequence(step, self._name, self._limits)
        return self._taken(found, step)

    def begin(self, step: SequenceStep, entry: Entry, now_s: float) -> Place[Entry]:
        """Take a new sequence, in place of what runs under its id."""
        if (before := self._running.get(step.id)) is not None:
            self.forget(before)
        self.begun += 1
        place = self._running[step.id] = Place(step.id, entry, now_s)
        return self._taken(place, step)

    def give(self, place: Place[Entry], now_s: float) -> None:
        """Let others have a sequence that was taken."""
        place.taken -= 1
        place.used_s = now_s
        if not place.taken:
            self._leaving.discard(place)

    def forget(self, place: Place[Entry]) -> None:
        """Let no further request find a sequence; it is gone once those have ended that have it."""
        if self._running.get(place.id) is place:
            del self._running[place.id]
            if place.taken:
                self._leaving.add(place)

    def lose(self, place: Place[Entry]) -> None:
        """Be without a sequence at once, although a request has it: that one hangs."""
        self.forget(place)
        self._leaving.discard(place)

    def expire(self, now_s: float) -> None:
        """Forget what is idle."""
        for place in list(self._running.values()):
            if not place.taken and now_s - place.used_s >= self._limits.idle_s:
                self.forget(place)
                self.expired += 1

    def _taken(self, place: Place[Entry], step: SequenceStep) -> Place[Entry]:
        place.taken += 1
        if step.end:
            self.forget(place)
        return place


def unknown_sequence(step: SequenceStep, name: str, limits: SequenceLimits) -> BadRequestError:
    """Return the error of a request that goes on with what does not run."""
    return BadRequestError(
        f"no sequence {step.id!r} of model {name!r} runs: it was not begun, has ended or failed, was idle for "
        f"{limits.idle_s:g} s, or the model was changed: begin it anew with sequence_start (X-Sequence-Start: true)"
    )
