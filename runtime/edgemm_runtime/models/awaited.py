"""The predictions of one served model whose labels may come, from the answer of a request to a line of a log.

awaited = Awaited(class_output(key, manifest), settle)
awaited.remember(request_id, outputs, made=False)       # hot: a fraction of a microsecond
awaited.settle(given, made)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from edgemm.bundle.manifest import DType, Manifest
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.models.prediction_log import MOST_ROWS, ClassOutput, PredictionLog
from edgemm_runtime.tensors.comparison import score_labels
from edgemm_runtime.tensors.named_arrays import Array, Arrays

_FRESH = 256
"""So many predictions are noted together: a class is looked up in all of them at once."""
_MOST_FRESH = 4096
_LARGEST_FRESH_BYTES = 4096
_Scores = tuple[str, bytes]
_Named = tuple[str, bool, Array]


class Awaited:
    """The predictions of one served model as requests are answered: at first as the scores of each."""

    def __init__(self, classes: ClassOutput, settle: Callable[[], None]) -> None:
        self.classes, self._output, self._settle = classes, classes.output, settle
        self._shape, self._dtype = (1, classes.columns), np.dtype(classes.dtype)
        self._given, self._made = deque[_Scores](maxlen=_MOST_FRESH), deque[_Scores](maxlen=_MOST_FRESH)
        self._named: deque[_Named] = deque(maxlen=_MOST_FRESH)

    def remember(self, request_id: str, outputs: Arrays, *, made: bool) -> None:
        """Note what was predicted; `made` tells that the id is the device's own. Takes a fraction of a microsecond."""
        array = outputs[self._output]
        if array.shape == self._shape and array.dtype is self._dtype:
            fresh = self._made if made else self._given
            fresh.append((request_id, array.tobytes()))
            if len(fresh) >= _FRESH:
                self._settle()
        elif array.ndim == 2 and array.shape[0] and array.shape[1] > 1:
            self._named.append((request_id, made, array[:MOST_ROWS].argmax(axis=1)))
            if len(self._named) >= _FRESH:
                self._settle()

    def settle(self, given: PredictionLog, made: PredictionLog) -> None:
        """Put what is fresh into the logs, requests of one row together."""
        for fresh, log in ((self._given, given), (self._made, made)):
            if found := _drained(fresh):
                ids, rows = zip(*found, strict=True)
                scores = np.frombuffer(b"".join(rows), self._dtype).reshape(len(ids), -1)
                log.add_all(ids, self.classes, scores.argmax(axis=1).tolist(), plain=log is made)
        for request_id, by_device, indices in _drained(self._named):
            (made if by_device else given).add(request_id, self.classes, indices.tolist())


_Item = TypeVar("_Item")


def _drained(fresh: deque[_Item]) -> list[_Item]:
    """Return what is in a deque, and leave what other threads add meanwhile."""
    return [fresh.popleft() for _ in range(len(fresh))]


def class_output(key: ServedKey, manifest: Manifest) -> ClassOutput | None:
    """Return the output whose rows name a class: the first of [batch, classes], one for each label where there are any.

    None where a model has no such output, such as one of labels alone, which are strings: what it predicts is then
    remembered by nobody.
    """
    labels = score_labels(manifest)
    for spec in manifest.signature.outputs:
        if spec.dtype is DType.STRING:
            continue  # a label by itself: a model that has scores too is asked for those
        if len(spec.shape) == 2 and (spec.shape[1] == len(labels) if labels is not None else spec.shape[1] != 1):
            wide = spec.shape[1] * np.dtype(spec.dtype.value).itemsize > _LARGEST_FRESH_BYTES
            columns = 0 if wide or spec.shape[1] < 0 else spec.shape[1]
            return ClassOutput(key, spec.name, tuple(labels) if labels else None, columns, spec.dtype.value)
    return None
