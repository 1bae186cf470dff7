"""The endpoints that answer with a model: from a request's bytes to a reply's bytes.

An endpoint is made for one path and kept, with what it remembers of its model. `answer` asks it for one request,
`answer_together` for several as one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from edgemm_runtime.http import hurry
from edgemm_runtime.http.exchange import Reply, Request
from edgemm_runtime.memory.memory_budget import LARGE_BYTES, here, hold
from edgemm_runtime.models.sequence_table import SequenceStep
from edgemm_runtime.models.served_model import ServedModel
from edgemm_runtime.tensors.element_types import OBJECT, size_of
from edgemm_runtime.tensors.named_arrays import Arrays
from edgemm_runtime.tensors.stored_integers import StoredForm


class Question(NamedTuple):
    """A request that was read: whom it asks, what, and how the outputs are told.

    `form` and `step` are as in `ServedModel.predict`; a label of what is predicted comes by `id`.
    """

    served: ServedModel
    inputs: Arrays
    reply: Callable[[Arrays], Reply]
    form: StoredForm | None = None
    step: SequenceStep | None = None
    id: str = ""


class Endpoint(Protocol):
    """A model as one protocol asks it, at one path."""

    @property
    def timed(self) -> bool:
        """Whether a request may say how long its client waits (`read_timeout_s`)."""

    @property
    def model(self) -> str:
        """The name of the model that it asks, "" where there is none; never raises."""

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


def answer_quickly(endpoint: Endpoint, request: Request, *, limit_s: float) -> Reply | None:
    """Answer a request as `answer`; None where that may take longer than `limit_s`, by how many inputs there are.

    None also where this thread, which is in a hurry, finds that it takes long, or would wait.

    Raises:
        RequestError: it cannot be answered.
        EngineError: the engine failed.
    """
    holding = here.holding = request.holding
    before = holding.held_bytes
    hurry.here.hurried = True
    try:
        question = _read(endpoint, request)
        served, inputs = question.served, question.inputs
        if not served.is_long(inputs, limit_s):
            return _told(question, served.predict(inputs, form=question.form, step=question.step), request)
    except hurry.TakesLongError:
        pass
    finally:
        hurry.here.hurried, here.holding = False, None
    holding.shrink(max(0, holding.held_bytes - before))
    return None


def answer(endpoint: Endpoint, request: Request) -> Reply:
    """Answer a request.

    Raises:
        RequestError: it cannot be answered.
        EngineError: the engine failed.
    """
    here.holding = request.holding
    try:
        question = _read(endpoint, request)
        outputs = question.served.predict(question.inputs, form=question.form, step=question.step)
        return _told(question, outputs, request)
    finally:
        here.holding = None


def answer_together(endpoint: Endpoint, requests: Sequence[Request], *, limit_s: float) -> list[Reply] | None:
    """Answer requests as one batch; None where they are to be answered one by one, or may take longer than `limit_s`.

    Raises:
        RequestError: one of them cannot be answered.
        TakesLongError: this thread, which is in a hurry, finds that it takes long, or would wait.
    """
    hurry.here.hurried = True
    try:
        questions = []
        for request in requests:
            here.holding = request.holding
            questions.append(_read(endpoint, request))
        served = questions[0].served
        if any(question.served is not served or question.form is not None for question in questions):
            return None  # swapped while they were read, or raw
        if any(served.is_long(question.inputs, limit_s / len(questions)) for question in questions):
            return None
        answers = served.predict_together([question.inputs for question in questions])
        if answers is None:
            return None
        replies = []
        for request, question, outputs in zip(requests, questions, answers, strict=True):
            here.holding = request.holding
            replies.append(_told(question, outputs, request))
        return replies
    finally:
        hurry.here.hurried, here.holding = False, None


def _read(endpoint: Endpoint, request: Request) -> Question:
    """Read a request; what that took and is not part of its inputs is given back."""
    holding = request.holding
    before = holding.held_bytes
    question = endpoint.read(request)
    if holding.held_bytes > before:
        inputs = sum(map(size_of, question.inputs.values()))
        holding.shrink(max(0, holding.held_bytes - before - inputs))
    return question


def _told(question: Question, outputs: Arrays, request: Request) -> Reply:
    for array in outputs.values():
        if (size := array.nbytes if array.dtype is not OBJECT else size_of(array)) > LARGE_BYTES:
            hold(size)
    if (awaited := question.served.awaited) is not None and question.id:
        awaited.remember(question.id, outputs, made=question.id is request.made_id)
    return question.reply(outputs)
