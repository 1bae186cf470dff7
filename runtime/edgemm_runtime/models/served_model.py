"""One served model under its name: it predicts, counts what it predicts, and shows it to a shadow.

Alone or in a batch, a request is counted in one place (`_count`), and shown to the shadow in one (`_show`). What a
client got wrong is not counted: it is no fault of the model. Nor is what a sequence had no room for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from edgemm.bundle.manifest import Manifest, Variant
from edgemm.errors import EngineError, RequestError, UncomputableSizeError
from edgemm_runtime.engines.hang_time import Had, Look
from edgemm_runtime.engines.interface import WatchedModel
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.models.counters import Counters
from edgemm_runtime.models.feedback import Feedback
from edgemm_runtime.models.model import Model
from edgemm_runtime.models.sequence_limits import SequenceLimits
from edgemm_runtime.models.sequence_table import SequenceStep
from edgemm_runtime.models.sequences import Sequences
from edgemm_runtime.monitoring.watch import ModelWatch
from edgemm_runtime.shadow.shadow import Shadow
from edgemm_runtime.tensors.named_arrays import Array, Arrays
from edgemm_runtime.tensors.stored_integers import StoredForm

_log = logging.getLogger(__name__)
_WEIGHT = 0.05


class ServedModel:
    """One active model under its name, with its counters; what asks `model` directly is not counted.

    `shadow`, where there is one, is shown every request that was answered. A stateful model has `sequences`.
    """

    def __init__(
        self,
        name: str,
        model: Model,
        counters: Counters,
        feedback: Feedback,
        *,
        limits: SequenceLimits,
        now_s: Callable[[], float],
    ) -> None:
        self.name, self.model, self._counters = name, model, counters
        self.sequences = Sequences(name, model, limits, now_s=now_s) if model.manifest.stateful else None
        self.is_long = model.loaded.is_long
        """Tells whether it may take longer than a limit to compute inputs and to write the answer."""
        self.usual_s = model.usual_s
        """How long requests take lately, in the model: a moving mean that begins with a golden sample's time."""
        self.shadow: Shadow | None = None
        self.watch: ModelWatch | None = None
        """What looks at a sample of the requests, where the bundle says how the model is monitored."""
        self.awaited = feedback.awaited_of(counters.key, model.manifest)
        """What remembers its predictions until their labels come; None where it names no classes."""

    @property
    def manifest(self) -> Manifest:
        """What the bundle is."""
        return self.model.manifest

    @property
    def variant(self) -> Variant:
        """What runs."""
        return self.model.variant

    @property
    def key(self) -> ServedKey:
        """What its counters are kept by."""
        return self._counters.key

    @property
    def together(self) -> bool:
        """Whether `predict_together` may answer."""
        return self.model.loaded.together

    def predict(
        self, inputs: Arrays, *, form: StoredForm | None = None, step: SequenceStep | None = None
    ) -> dict[str, Array]:
        """Return all outputs, of arrays in the signature's dtypes and shapes; counts the request.

        The tensors of `form` are the file's own integers; such a request is not shown to a shadow, which has others. A
        stateful model needs to know of which sequence it is a `step`; any other does not look at it.

        Raises:
            BadRequestError: a name, dtype or shape is not the signature's, or the sequence does not run.
            UnavailableError: there is no room for one more sequence, or all that computes the model is busy.
            EngineError: the engine failed.
        """
        if self.sequences is None:
            return self._predict(self.model.loaded, inputs, form)
        with self.sequences.taken(step) as model:
            return self._predict(model, inputs, form)

    def _predict(self, model: WatchedModel, inputs: Arrays, form: StoredForm | None) -> dict[str, Array]:
        begun_s = time.perf_counter()
        try:
            outputs = (model if form is None else model.as_stored(form)).run(inputs)
        except RequestError as err:
            if isinstance(err, UncomputableSizeError):
                self._counters.add_uncomputable()
            raise
        except BaseException as err:
            self._count(time.perf_counter() - begun_s, failed=True)
            if isinstance(err, EngineError | MemoryError):
                raise EngineError(f"model {self.name} failed: {str(err) or 'out of memory'}") from err
            raise
        self._count(time.perf_counter() - begun_s)
        if self.shadow is not None and form is None:
            self._show((inputs,), (outputs,))
        if (watch := self.watch) is not None and watch.wanted:
            watch.take(inputs, outputs, form)
        return outputs

    def predict_together(self, requests: Sequence[Arrays]) -> list[dict[str, Array]] | None:
        """Answer requests as one batch and count each; None where that cannot be done, and nothing is counted."""
        begun_s = time.perf_counter()
        answers = self.model.loaded.run_together(requests)
        if answers is not None:
            self._count(time.perf_counter() - begun_s, requests=len(requests))
            self._show(requests, answers)
            if (watch := self.watch) is not None and watch.wanted:
                watch.take_each(requests, answers)
        return answers

    def retire(self) -> None:
        """Be served no more: requests in flight are answered, and no sequence goes on."""
        if self.sequences is not None:
            self.sequences.close()

    def overdue(self, look: Look) -> Mapping[int, Had]:
        """Return the threads in which the model hangs, or computes for longer than is plausible."""
        return (self.sequences or self.model.loaded).overdue(look)

    def give_up(self, thread: int) -> None:
        """Do without what a thread holds of the model."""
        (self.sequences or self.model.loaded).give_up(thread)

    def count_hang(self, waited_s: float) -> None:
        """Count a request that was given up, where the model is to blame."""
        self._counters.add_hang(waited_s)
        _log.error("inference hangs model=%s version=%s variant=%s", self.name, self.key.version, self.key.variant)

    def _show(self, requests: Sequence[Arrays], answers: Sequence[Arrays]) -> None:
        """Show requests that were answered by one inference to the shadow, where there is one."""
        if (shadow := self.shadow) is not None:
            for inputs, outputs in zip(requests, answers, strict=True):
                shadow.offer(self._counters.key, inputs, outputs)

    def _count(self, took_s: float, *, requests: int = 1, failed: bool = False) -> None:
        """Count the requests of one inference; each waited for all of it, and has its share in how long one takes."""
        self.usual_s += (took_s / requests - self.usual_s) * _WEIGHT
        for _ in range(requests):
            self._counters.add(took_s, failed=failed)
