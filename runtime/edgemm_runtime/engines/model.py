"""What every engine looks like from outside (`LoadedModel`) and from inside (`Session`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Arrays: TypeAlias = Mapping[str, Array]


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

    def overdue(self, now_s: float) -> list[int]:
        """Return the threads that have been in the engine for longer than is plausible; `now_s` is monotonic."""

    def give_up(self, thread: int) -> None:
        """Do without what a thread that hangs in the engine holds there."""


class Session(Protocol):
    """A model file in one engine, by the file's own tensor names and dtypes; safe to call from many threads."""

    def invoke(self, feeds: Arrays) -> dict[str, Array]:
        """Compute the outputs that the variant lists.

        Raises:
            EngineError: the engine failed.
        """

    def give_up(self, thread: int) -> None:
        """Do without what a thread that hangs in `invoke` holds."""
