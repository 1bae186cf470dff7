"""The interfaces of every engine: `LoadedModel` for its users, and `Session` for its implementation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from edgemm_runtime.engines.hang_time import Had, Look
from edgemm_runtime.engines.pacing import Rest, no_rest
from edgemm_runtime.tensors.named_arrays import Array, Arrays
from edgemm_runtime.tensors.stored_integers import StoredForm


class LoadedModel(Protocol):
    """A model in memory that answers in the signature's names, dtypes and shapes; safe to call from many threads."""

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Compute all outputs.

        Raises:
            BadRequestError: `inputs` are not what the signature says.
            EngineError: the engine failed.
        """


class WatchedModel(LoadedModel, Protocol):
    """A loaded model of which it can be told that it hangs."""

    @property
    def together(self) -> bool:
        """Whether `run_together` may answer."""

    def run_together(self, requests: Sequence[Arrays]) -> list[dict[str, Array]] | None:
        """Compute the outputs of several requests at once, as `run` would; None where that cannot be done."""

    def tune(self, samples: Sequence[Arrays], *, rest: Rest = no_rest) -> None:
        """Find out how requests like these, which were answered before, are computed soonest; `rest` between steps.

        Raises:
            EngineError: the engine failed.
        """

    def overdue(self, look: Look) -> Mapping[int, Had]:
        """Return the threads that have been in the engine for longer than is plausible, with what time they had."""

    def well(self) -> bool:
        """Tell whether the engine computes what it answered before.

        Raises:
            UnavailableError: all that could compute it was busy.
        """

    def is_long(self, inputs: Arrays, limit_s: float) -> bool:
        """Tell whether inputs, larger than usual, may take the engine longer than `limit_s`."""

    def give_up(self, thread: int) -> None:
        """Do without what a thread that hangs in the engine holds there."""

    def as_stored(self, form: StoredForm) -> LoadedModel:
        """Return the same model with the tensors of `form` as the file's own integers, exactly."""

    def fresh(self) -> WatchedModel:
        """Return the same model in the state in which it was loaded, which nobody else has; itself if it holds none.

        Raises:
            EngineError: the engine failed, for example for want of memory.
        """

    @property
    def members(self) -> int:
        """How many requests it is made to compute at once by now."""

    def grow(self, members: int, *, rest: Rest = no_rest) -> None:
        """Be made for so many requests at once before they come; at most as many as this machine has room for.

        `rest` is called between the steps.

        Raises:
            EngineError: the engine failed.
        """


class Session(Protocol):
    """A model file in one engine, by the file's own tensor names and dtypes; safe to call from many threads."""

    def invoke(self, feeds: Arrays) -> dict[str, Array]:
        """Compute the outputs that the variant lists.

        Raises:
            EngineError: the engine failed.
        """

    def widen(self, feeds: Arrays) -> dict[str, Array] | None:
        """Let an inference that has the machine to itself take several CPU threads where that is quicker.

        Returns what several threads answer to `feeds`; None where it can only take as many as it has.

        Raises:
            EngineError: the engine failed.
        """

    def narrow(self) -> None:
        """Take back `widen`."""

    def give_up(self, thread: int) -> None:
        """Do without what a thread that hangs in `invoke` holds."""

    @property
    def members(self) -> int:
        """How many requests it is made to compute at once by now."""

    def grow(self, members: int, *, rest: Rest = no_rest) -> None:
        """Be made for so many requests at once, with rests between steps; raises as `invoke`."""
