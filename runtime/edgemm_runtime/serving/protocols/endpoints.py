"""The endpoints that answer with a model: from a request's bytes to a reply's bytes.

An endpoint is made for one path and kept, with what it remembers of its model. `answer` asks it for one request,
`answer_together` for several as one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from edgemm_runtime.http.exchange import Reply, Request
from edgemm_runtime.models.sequence_table import SequenceStep
from edgemm_runtime.models.served_model import ServedModel
from edgemm_runtime.tensors.named_arrays import Arrays
from edgemm_runtime.tensors.stored_integers import StoredForm


class Question(NamedTuple):
    """A request that was read: whom it asks, what, and how the outputs are told.

    `form` and `step` are as in `ServedModel.predict`.
    """

    served: ServedModel
    inputs: Arrays
    reply: Callable[[Arrays], Reply]
    form: StoredForm | None = None
    step: SequenceStep | None = None


class Endpoint(Protocol):
    """A model as one protocol asks it, at one path."""

    @property
    def timed(self) -> bool:
        """Whether a request may say how long its client waits (`read_timeout_s`)."""

    def usual_s(self) -> float:
        """Return how long the model takes lately; 0 where it has not been asked, or there is none.

        Never raises.
        """

    def together(self) -> bool:
        """Tell whether requests may be answered as one batch; never raises."""

    def read(self, request: Request) -> Question:
        """Read a request.

        Raises:
            RequestError: it cannot be answered.
        """


def answer(endpoint: Endpoint, request: Request) -> Reply:
    """Answer a request.

    Raises:
        RequestError: it cannot be answered.
        EngineError: the engine failed.
    """
    question = endpoint.read(request)
    return question.reply(question.served.predict(question.inputs, form=question.form, step=question.step))


def answer_together(endpoint: Endpoint, requests: Sequence[Request]) -> list[Reply] | None:
    """Answer requests as one batch; None where they are to be answered one by one.

    Raises:
        RequestError: one of them cannot be answered.
    """
    questions = [endpoint.read(request) for request in requests]
    served = questions[0].served
    if any(question.served is not served or question.form is not None for question in questions):
        return None  # swapped while they were read, or raw
    answers = served.predict_together([question.inputs for question in questions])
    if answers is None:
        return None
    return [question.reply(outputs) for question, outputs in zip(questions, answers, strict=True)]
