"""A model whose file keeps state: one sequence of requests, of one client, from the state in which it was loaded.

    first = engines.load(variant, signature, data, stateful=True)
    second = first.fresh()

Each has a session of its own, and one thread at a time asks it. All its requests are of one size and of a batch of 1:
an engine that makes room for another size loses the state, or corrupts memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgemm.bundle.manifest import Signature
from edgemm.errors import BadRequestError
from edgemm_runtime.engines.hang_time import Had, Look
from edgemm_runtime.engines.interface import LoadedModel, Session
from edgemm_runtime.engines.pacing import Rest, no_rest
from edgemm_runtime.engines.signature_model import SignatureModel
from edgemm_runtime.tensors.named_arrays import Array, Arrays
from edgemm_runtime.tensors.stored_integers import StoredForm


class StatefulModel:
    """A `WatchedModel` that is one sequence of `model`; `open_session` opens its file anew."""

    together = False
    members = 1

    def __init__(self, model: SignatureModel, signature: Signature, open_session: Callable[[], Session]) -> None:
        self._model, self._signature, self._open_session = model, signature, open_session
        self._sizes = _Sizes(signature)

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Compute the next step; see `LoadedModel`."""
        return self._sizes.run(self._model, inputs)

    def run_together(self, requests: Sequence[Arrays]) -> None:
        """Compute nothing: each request depends on the one before; see `WatchedModel`."""

    def tune(self, samples: Sequence[Arrays], *, rest: Rest = no_rest) -> None:
        """Find out nothing: there is one way to compute a sequence; see `WatchedModel`."""

    def grow(self, members: int, *, rest: Rest = no_rest) -> None:
        """Stay one sequence; see `WatchedModel`."""

    def overdue(self, look: Look) -> Mapping[int, Had]:
        """Return the threads that hang; see `WatchedModel`."""
        return self._model.overdue(look)

    def well(self) -> bool:
        """Tell whether another sequence computes what this model answered before; see `WatchedModel`."""
        return self._model.over(self._open_session).well()

    def is_long(self, inputs: Arrays, limit_s: float) -> bool:
        """Tell whether inputs may take longer than usual; see `WatchedModel`."""
        return self._model.is_long(inputs, limit_s)

    def give_up(self, thread: int) -> None:
        """Do without what a thread that hangs holds; see `WatchedModel`."""
        self._model.give_up(thread)

    def as_stored(self, form: StoredForm) -> LoadedModel:
        """Return this very sequence with some tensors as its file stores them; see `WatchedModel`."""
        return _Stored(self._model.as_stored(form), self._sizes)

    def fresh(self) -> StatefulModel:
        """Return another sequence of the same file; see `WatchedModel`."""
        return StatefulModel(self._model.over(self._open_session), self._signature, self._open_session)


class _Stored:
    """A sequence with some tensors as its file stores them, as a `LoadedModel`."""

    def __init__(self, model: LoadedModel, sizes: _Sizes) -> None:
        self._model, self._sizes = model, sizes

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Compute the next step; see `LoadedModel`."""
        return self._sizes.run(self._model, inputs)


class _Sizes:
    """The sizes of a sequence's inputs: those of its first request, in which a variable batch is 1."""

    def __init__(self, signature: Signature) -> None:
        self._batched = frozenset(spec.name for spec in signature.inputs if spec.shape[:1] == (-1,))
        self._first: dict[str, tuple[int, ...]] = {}

    def run(self, model: LoadedModel, inputs: Arrays) -> dict[str, Array]:
        """Compute the next step if its inputs are of these sizes; raises as `LoadedModel.run`."""
        for name, array in inputs.items():
            expected = self._first.get(name) or ((1, *array.shape[1:]) if name in self._batched else array.shape)
            if array.shape != expected:
                raise BadRequestError(
                    f"input {name!r}: expected shape {list(expected)}, found {list(array.shape)}: in a sequence each "
                    "request is of a batch of 1 and as large as the first"
                )
        outputs = model.run(inputs)
        self._first = {name: array.shape for name, array in inputs.items()}
        return outputs
