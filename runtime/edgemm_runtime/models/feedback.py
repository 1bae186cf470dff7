"""Late labels: `{"id": …, "label": …}` tells whether a prediction was right. Pure, but for its lock.

A prediction is remembered by the id that the client gave its request, for the last `MOST_AWAITED` of them. A request
without an id costs nothing. Counts are kept apart by model, version, digest and variant, and only rise.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from edgemm.errors import BadRequestError, NotFoundError
from edgemm_runtime.http import json_faults
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.tensors.named_arrays import Arrays

MOST_AWAITED = 10_000
"""Predictions that a label may still come for; the oldest are forgotten first."""
LONGEST_ID = 128
"""A longer id is not remembered: ten thousand of them are to fit into a small box."""


@dataclass(frozen=True)
class Prediction:
    """The class that a model named: its index, and the bundle's labels where it has some."""

    key: ServedKey
    index: int
    labels: tuple[str, ...] | None

    @property
    def name(self) -> str | int:
        """The label of the class, or its index where the bundle has no labels."""
        return self.labels[self.index] if self.labels else self.index

    def agrees(self, label: str | int) -> bool:
        """Tell whether a label, by its name or index, is this class.

        Raises:
            BadRequestError: it is none of the model's classes.
        """
        if isinstance(label, int):
            if label < 0 or (self.labels is not None and label >= len(self.labels)):
                raise BadRequestError(f"label: expected the index of a class, found {label}")
            return label == self.index
        if self.labels is None:
            raise BadRequestError(f"label: the bundle names no classes: expected an index, found {label[:40]!r}")
        if label not in self.labels:
            raise BadRequestError(f"label: expected one of {', '.join(self.labels)[:200]}, found {label[:40]!r}")
        return label == self.labels[self.index]


class Label(Struct, frozen=True):
    """The body of `POST /v2/feedback`."""

    id: str
    label: str | int
    model: str | None = None


@dataclass(frozen=True)
class Agreed:
    """What late labels said of one (model, version, digest, variant) since the process started."""

    key: ServedKey
    agreed: int
    disagreed: int


class Feedback:
    """Predictions that await their label, and what labels said; safe to use from many threads."""

    def __init__(self, *, most_awaited: int = MOST_AWAITED) -> None:
        self._most = most_awaited
        self._lock = threading.Lock()
        self._awaited: OrderedDict[tuple[str, str], Prediction] = OrderedDict()
        self._counts: dict[ServedKey, tuple[int, int]] = {}
        self.unmatched = 0
        """Labels that came and for which no prediction waited; not by name, for a client may make up any number."""

    def remember(self, request_id: str, prediction: Prediction) -> None:
        """Note what was predicted; of two with one id and model, the later one counts."""
        if not request_id or len(request_id) > LONGEST_ID:
            return
        place = (prediction.key.name, request_id)
        with self._lock:
            self._awaited.pop(place, None)
            self._awaited[place] = prediction
            if len(self._awaited) > self._most:
                self._awaited.popitem(last=False)

    def label(self, name: str, request_id: str, label: str | int) -> tuple[Prediction, bool]:
        """Take the label of a prediction, once; return what was predicted, and whether that was it.

        Raises:
            NotFoundError: no such prediction awaits one.
            BadRequestError: it is none of the model's classes; the prediction still awaits its label.
        """
        with self._lock:
            found = self._awaited.get((name, request_id))
            if found is None:
                self.unmatched += 1
                raise NotFoundError(
                    f"no prediction of {name!r} with id {request_id[:80]!r} awaits a label: it was not of one sample, "
                    f"has its label, or is not among the last {self._most:,}"
                )
            agrees = found.agrees(label)
            del self._awaited[name, request_id]
            agreed, disagreed = self._counts.get(found.key, (0, 0))
            self._counts[found.key] = (agreed + agrees, disagreed + (not agrees))
            return found, agrees

    def counts(self) -> tuple[Agreed, ...]:
        """Return what labels said until now."""
        with self._lock:
            return tuple(Agreed(key, *counts) for key, counts in self._counts.items())


def decode_label(body: bytes) -> Label:
    """Read a request.

    Raises:
        BadRequestError: it is no JSON of that form.
    """
    try:
        return msgspec.json.decode(body, type=Label)
    except json_faults.FAULTS as err:
        found = json_faults.told(err, body)
        raise BadRequestError(f'expected JSON such as {{"id": "7", "label": "cat"}}: {found}') from err


def predicted(key: ServedKey, outputs: Arrays, labels: Sequence[str] | None) -> Prediction | None:
    """Return the class that an answer names: of one sample, by the first output with a value for each class."""
    for array in outputs.values():
        if array.ndim == 2 and array.shape[1] > 1 and (labels is None or array.shape[1] == len(labels)):
            return (
                Prediction(key, int(array[0].argmax()), tuple(labels) if labels else None) if len(array) == 1 else None
            )
    return None
