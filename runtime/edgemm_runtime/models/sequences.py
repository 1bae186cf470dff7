"""The sequences of one stateful model: each client's requests, in order, in an interpreter of their own.

    with sequences.taken(SequenceStep("door", start=True)) as model:
        outputs = model.run(inputs)

Requests of one sequence are computed one at a time, in the order in which they came here; those of several at once. A
sequence whose inference failed or hangs has ended, since nobody knows its state. Which one runs is decided in
`sequence_table`; this shell holds what was loaded, and the lock.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgemm.errors import BadRequestError, EngineError, UnavailableError, UncomputableSizeError, UncomputableValueError
from edgemm_runtime.board.sysfs import Sysfs
from edgemm_runtime.engines.hang_time import Had, Look
from edgemm_runtime.engines.interface import WatchedModel
from edgemm_runtime.models.model import Model
from edgemm_runtime.models.sequence_limits import SequenceLimits
from edgemm_runtime.models.sequence_table import Place, SequenceStep, SequenceTable, unknown_sequence

_WAIT_S = 30.0
_SPARE_BYTES = 8 * 1024 * 1024
"""What one sequence takes beside the weights, which the engine packs anew for each, and leaves to others."""


class _Sequence:
    """One sequence: what was loaded for it, and the requests that have it, in order."""

    def __init__(self) -> None:
        self.loaded: WatchedModel | None = None
        self.turns: deque[int] = deque()
        self.thread: int | None = None
        self.answered = self.lost = False


class Sequences:
    """The sequences of one served model; safe to call from many threads."""

    def __init__(
        self,
        name: str,
        model: Model,
        limits: SequenceLimits,
        *,
        now_s: Callable[[], float] = time.monotonic,
        available_bytes: Callable[[], int | None] = lambda: Sysfs().memory_bytes("MemAvailable"),
    ) -> None:
        self._name, self._loaded, self._limits = name, model.loaded, limits
        self._needed_bytes = model.manifest.blobs[model.variant.blob].size + _SPARE_BYTES
        self._now_s, self._available_bytes = now_s, available_bytes
        self._table: SequenceTable[_Sequence] = SequenceTable(name, limits)
        self._changed = threading.Condition()
        self._last_turn = 0
        self._closed = False

    @contextmanager
    def taken(self, step: SequenceStep | None) -> Iterator[WatchedModel]:
        """Give the model of a sequence to one request, once those that came before it are done.

        What is raised meanwhile ends the sequence, but for inputs that the model does not take.

        Raises:
            BadRequestError: no step, or none of a running sequence.
            UnavailableError: too many sequences run, or no memory is left for one more.
        """
        if step is None:
            raise BadRequestError(
                f"model {self._name!r} keeps a state for each client: expected the id of a sequence, by sequence_id in "
                "the request's parameters or the header X-Sequence-Id, and sequence_start with its first request"
            )
        place, turn = self._enter(step)
        try:
            self._await(place, turn, step)
            with _ended_by_errors(place.entry):
                yield self._opened(place.entry)
            place.entry.answered = True
        finally:
            self._leave(place, turn)

    @property
    def running(self) -> int:
        """How many run."""
        return len(self._table)

    @property
    def begun(self) -> int:
        """How many began."""
        return self._table.begun

    @property
    def expired(self) -> int:
        """How many were forgotten because they were idle."""
        return self._table.expired

    def expire(self) -> None:
        """Forget what is idle, and free its memory."""
        with self._changed:
            self._table.expire(self._now_s())

    def close(self) -> None:
        """End all of them: the model is served no more. What is computed just now is answered."""
        with self._changed:
            self._closed = True
            for place in self._table.places():
                place.entry.lost = True
                self._table.forget(place)

    def overdue(self, look: Look) -> dict[int, Had]:
        """Return the threads that hang; see `WatchedModel`."""
        with self._changed:
            loaded = [place.entry.loaded for place in self._table.places()]
        return {t: had for one in loaded if one is not None for t, had in one.overdue(look).items()}

    def give_up(self, thread: int) -> None:
        """Do without the sequence in which a thread hangs: those that wait for it are told to begin anew."""
        with self._changed:
            for place in self._table.places():
                if place.entry.thread == thread:
                    place.entry.lost = True
                    place.entry.turns.popleft()
                    self._table.lose(place)
            self._changed.notify_all()

    def _enter(self, step: SequenceStep) -> tuple[Place[_Sequence], int]:
        """Take a place in the line before a sequence."""
        with self._changed:
            if self._closed:
                if step.start:
                    raise UnavailableError(f"model {self._name!r} was just changed: send the request again")
                raise unknown_sequence(step, self._name, self._limits)
            now_s = self._now_s()
            place = self._table.find(step, now_s)
            if place is None:
                self._check_memory()
                place = self._table.begin(step, _Sequence(), now_s)
            self._last_turn += 1
            place.entry.turns.append(self._last_turn)
            return place, self._last_turn

    def _check_memory(self) -> None:
        available = self._available_bytes()
        if available is not None and available < self._needed_bytes:
            raise UnavailableError(
                f"one more sequence of model {self._name!r} needs about {self._needed_bytes:,} bytes of memory, "
                f"{available:,} are free: end another one, or try again later"
            )

    def _await(self, place: Place[_Sequence], turn: int, step: SequenceStep) -> None:
        """Wait until all that came before have been answered."""
        sequence = place.entry
        with self._changed:
            if not self._changed.wait_for(lambda: sequence.lost or sequence.turns[0] == turn, _WAIT_S):
                raise UnavailableError(f"earlier requests of the same sequence of {self._name!r} are still computed")
            if sequence.lost:
                raise unknown_sequence(step, self._name, self._limits)
            sequence.thread = threading.get_ident()

    def _leave(self, place: Place[_Sequence], turn: int) -> None:
        """Let the next one have its turn."""
        sequence = place.entry
        with self._changed:
            if turn in sequence.turns:  # it is not, where this thread was given up
                if sequence.turns[0] == turn:
                    sequence.thread = None
                sequence.turns.remove(turn)
            if sequence.lost:
                self._table.forget(place)
            self._table.give(place, self._now_s())
            self._changed.notify_all()

    def _opened(self, sequence: _Sequence) -> WatchedModel:
        if sequence.loaded is None:
            try:
                sequence.loaded = self._loaded.fresh()
            except (EngineError, MemoryError) as err:
                reason = str(err) or "out of memory"
                raise UnavailableError(f"no further sequence of model {self._name!r} can begin: {reason}") from err
        return sequence.loaded


@contextmanager
def _ended_by_errors(sequence: _Sequence) -> Iterator[None]:
    """End a sequence whose state nobody knows any more, and one whose first request was wrong."""
    try:
        yield
    except BadRequestError as err:
        sequence.lost |= isinstance(err, UncomputableSizeError | UncomputableValueError) or not sequence.answered
        raise
    except BaseException:
        sequence.lost = True
        raise
