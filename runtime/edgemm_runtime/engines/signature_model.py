"""A model behind its signature: checks, quantization and batches around a session of any engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from edgemm.bundle.manifest import Signature, Variant
from edgemm.errors import BadRequestError, EngineError, UncomputableLengthError
from edgemm_runtime.engines.faults import CONVERT_AGAIN, Faults
from edgemm_runtime.engines.hang_time import Had, Look
from edgemm_runtime.engines.interface import Session
from edgemm_runtime.engines.pacing import Rest, no_rest
from edgemm_runtime.engines.timed import TimedSession, answers_together
from edgemm_runtime.tensors.affine import input_cast, output_cast
from edgemm_runtime.tensors.batching import has_free_batch, join, rows_of, split
from edgemm_runtime.tensors.inputs import check_inputs, fits
from edgemm_runtime.tensors.named_arrays import Array, Arrays
from edgemm_runtime.tensors.stored_integers import StoredForm, as_stored

_Form: TypeAlias = tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]
_MAX_FORMS = 64
_MOST_STORED = 16
_TOLD_S = 150e-9
"""How long it takes to write a number of an answer as JSON."""


def _form(inputs: Arrays) -> _Form:
    return tuple([(name, array.dtype, array.shape) for name, array in inputs.items()])


class SignatureModel:
    """A `WatchedModel` over a `Session`.

    Where the file's batch is fixed at 1 and the signature's is variable, the batch is run one by one. A size or values
    that the engine cannot compute are the request's fault and not the engine's (`Faults`).

    Inputs of a form (names, dtypes, shapes) that was found right and answered once are not checked again.

    Requests whose batch was seen to answer what each gets alone may be computed together.
    """

    def __init__(self, session: Session, variant: Variant, signature: Signature, *, row_s: float = 0.0) -> None:
        self._session, self._signature, self._variant = session, signature, variant
        self._timed = TimedSession(session, row_s=row_s)
        self._inputs = {tensor.name: tensor for tensor in variant.inputs}
        self._outputs = {tensor.name: tensor for tensor in variant.outputs}
        self._to_file = {name: (tensor.tensor, input_cast(tensor)) for name, tensor in self._inputs.items()}
        self._from_file = [
            (spec.name, self._outputs[spec.name].tensor, output_cast(self._outputs[spec.name], dtype=spec.dtype))
            for spec in signature.outputs
        ]
        self._looped = frozenset(
            spec.name
            for spec in signature.inputs
            if spec.shape[:1] == (-1,) and self._inputs[spec.name].shape[:1] == (1,)
        )
        self._batched = frozenset(spec.name for spec in signature.inputs if spec.shape[:1] == (-1,))
        self._sized = tuple(spec.name for spec in signature.inputs if -1 in spec.shape[1:])
        # Where the lengths of outputs follow from the values of inputs, as of boxes that were found, there may be none.
        self._shortest = 0 if not self._sized and not (self._batched and signature.row_by_row) else 1
        self._faults = Faults(self._sized, self._batched)
        self._told_s = 0.0
        self._anew: Callable[[], Session] | None = None
        self._known: dict[_Form, int] = {}
        self._free_batch, self._together = has_free_batch(variant, signature) and not self._sized, False
        self._stored: dict[StoredForm, SignatureModel] = {}

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Compute all outputs; see `LoadedModel`."""
        form = _form(inputs)
        rows = self._known.get(form)
        try:
            if rows is None:
                return self._first(inputs, form)
            return self._told(self._timed.invoke(self._feeds(inputs), rows))
        except UncomputableLengthError:
            raise
        except EngineError as err:
            error = self._faults.of(self._cast(inputs), err, self._computes)
            if error is None:
                raise
            raise error[0](error[1]) from err

    @property
    def together(self) -> bool:
        """Whether `run_together` may answer; see `WatchedModel`."""
        return self._together

    def run_together(self, requests: Sequence[Arrays]) -> list[dict[str, Array]] | None:
        """Compute the outputs of several requests at once; see `WatchedModel`."""
        return self._batch_of(requests) if self._together else None

    def tune(self, samples: Sequence[Arrays], *, rest: Rest = no_rest) -> None:
        """Find out how requests are computed soonest; see `WatchedModel`."""
        alone = []
        for sample in samples:
            alone.append(self.run(sample))
            rest()
        self._timed.widen(self._feeds(samples[0]), told=self._told, alone=alone[0])
        rest()
        self._together = self._free_batch and answers_together(self._batch_of, samples, alone, rest)

    def overdue(self, look: Look) -> Mapping[int, Had]:
        """Return the threads that hang; see `WatchedModel`."""
        return self._timed.overdue(look)

    def well(self) -> bool:
        """Tell whether it computes what it answered before; see `WatchedModel`."""
        return self._computes(self._faults.good)

    def is_long(self, inputs: Arrays, limit_s: float) -> bool:
        """Tell whether inputs may take longer than usual; see `WatchedModel`."""
        if not self._sized:
            for name in self._batched:
                if len(inputs[name]) > 1:
                    break
            else:  # hot: most requests are of one row
                return self._timed.row_s + self._told_s > limit_s
        work = self._work(inputs)
        return self._timed.expected_s(work) + work * self._told_s > limit_s

    def give_up(self, thread: int) -> None:
        """Do without what a thread that hangs holds; see `WatchedModel`."""
        self._timed.give_up(thread)

    def as_stored(self, form: StoredForm) -> SignatureModel:
        """Return this model with some tensors as its file stores them; see `WatchedModel`."""
        found = self._stored.get(form)
        if found is None:
            found = SignatureModel(self._session, *as_stored(self._variant, self._signature, form))
            # One session: what hangs in it is seen, and given up, here. What it cannot compute is the same.
            found._timed, found._faults, found._anew = self._timed, self._faults, self._anew
            if len(self._stored) < _MOST_STORED:
                self._stored[form] = found
        return found

    def fresh(self) -> SignatureModel:
        """Return itself, which holds no state; see `WatchedModel`."""
        return self

    def over(self, anew: Callable[[], Session]) -> SignatureModel:
        """Return this model over another session, with what is known of its time and faults; trials get others."""
        found = SignatureModel(anew(), self._variant, self._signature, row_s=self._timed.row_s)
        found._faults, found._anew = self._faults, anew
        return found

    @property
    def members(self) -> int:
        """How many requests it is made for; see `WatchedModel`."""
        return self._session.members

    def grow(self, members: int, *, rest: Rest = no_rest) -> None:
        """Be made for so many requests; see `WatchedModel`."""
        self._session.grow(members, rest=rest)

    def _feeds(self, inputs: Arrays) -> dict[str, Array]:
        """Return inputs that are right as the file takes them."""
        feeds = {}
        for name, array in inputs.items():
            tensor, cast = self._to_file[name]
            feeds[tensor] = cast(array)
        return feeds

    def _told(self, found: Arrays) -> dict[str, Array]:
        """Return the file's outputs, which have the right shapes, as the signature has them."""
        return {name: cast(found[tensor]) for name, tensor, cast in self._from_file}

    def _batch_of(self, requests: Sequence[Arrays]) -> list[dict[str, Array]] | None:
        rows = [self._known.get(_form(request), 0) and rows_of(request) for request in requests]
        if 0 in rows:
            return None
        try:
            outputs = self._told(self._timed.invoke(self._feeds(join(requests)), sum(rows)))
        except (EngineError, BadRequestError, ValueError):
            return None  # one of them is at fault: alone, it is told so, and the others are answered
        if any(len(array) != sum(rows) for array in outputs.values()):
            return None
        return split(outputs, rows)

    def _first(self, inputs: Arrays, form: _Form) -> dict[str, Array]:
        """Compute the outputs of inputs that may be anything."""
        check_inputs(self._signature, inputs)
        feeds, batch = self._cast(inputs), self._batch(inputs)
        outputs = self._computed(feeds, batch)
        self._faults.answered(feeds)
        self._told_s = self._told_s or _TOLD_S * sum(a.size for a in outputs.values()) / self._work(feeds)
        if batch is None and not self._sized and len(self._known) < _MAX_FORMS:
            self._known[form] = self._work(feeds)
        return outputs

    def _cast(self, inputs: Arrays) -> dict[str, Array]:
        """Return inputs in the file's dtypes, by the signature's names."""
        return {name: self._to_file[name][1](array) for name, array in inputs.items()}

    def _computed(self, feeds: Arrays, batch: int | None) -> dict[str, Array]:
        return self._finished(self._invoke(feeds) if batch is None else self._one_by_one(feeds, batch=batch))

    def _batch(self, inputs: Arrays) -> int | None:
        """Return the batch's length if it must be run one by one."""
        length = next((len(inputs[name]) for name in self._looped), 1)
        return None if length == 1 else length

    def _one_by_one(self, feeds: Arrays, *, batch: int) -> dict[str, Array]:
        rows = [
            self._invoke({name: a[i : i + 1] if name in self._looped else a for name, a in feeds.items()})
            for i in range(batch)
        ]
        joined = {}
        for spec in self._signature.outputs:
            tensor = self._outputs[spec.name].tensor
            variable = spec.shape[:1] == (-1,)
            joined[tensor] = np.concatenate([row[tensor] for row in rows]) if variable else rows[-1][tensor]
        return joined

    def _invoke(self, feeds: Arrays) -> dict[str, Array]:
        for name, array in feeds.items():
            if not fits(self._inputs[name].shape, array.shape):
                expected = list(self._inputs[name].shape)
                raise BadRequestError(
                    f"input {name!r}: this variant's file takes shape {expected}, found {list(array.shape)}"
                )
        tensors = {self._inputs[name].tensor: array for name, array in feeds.items()}
        return self._timed.invoke(tensors, self._work(feeds))

    def _work(self, feeds: Arrays) -> int:
        """Return how much there is to compute: elements where other sizes than the batch are variable, else rows."""
        if self._sized:
            return max(1, sum(feeds[name].size for name in self._sized))
        return max([1, *[len(feeds[name]) for name in self._batched]])

    def _computes(self, feeds: Arrays) -> bool:
        try:
            if self._anew is not None:
                other = SignatureModel(self._anew(), self._variant, self._signature)
                return other._computes(feeds)
            # Some engines answer a size that they cannot compute with nothing.
            self._computed(feeds, self._batch(feeds))
        except (EngineError, BadRequestError, MemoryError):
            return False
        return True

    def _finished(self, found: Arrays) -> dict[str, Array]:
        return {
            spec.name: self._finish(found[self._outputs[spec.name].tensor], index=i)
            for i, spec in enumerate(self._signature.outputs)
        }

    def _finish(self, values: Array, *, index: int) -> Array:
        spec = self._signature.outputs[index]
        if not fits(spec.shape, values.shape, least=self._shortest):
            raise EngineError(
                f"output {spec.name!r}: the signature says shape {list(spec.shape)}, the engine gave "
                f"{list(values.shape)}{CONVERT_AGAIN}"
            )
        _, _, cast = self._from_file[index]
        return cast(values)
