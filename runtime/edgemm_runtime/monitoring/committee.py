"""The committee of a model: what its heads answer, and the counts of how a model agrees with it. NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgemm.monitoring import AgreementCounts, MonitorDocument
from edgemm.monitoring.monitor_document import CELLS, CONFIDENCE_EDGES, HEADS, DenseLayer, Scores
from edgemm_runtime.monitoring.views import views

Array: TypeAlias = npt.NDArray[Any]
HeadWeights: TypeAlias = tuple[Array, Array, Array, Array]
"""Weights and biases of the hidden layer, and of that to the classes."""


_MOST = 1e4
"""A logit beyond it is as certain as can be."""


@dataclass(frozen=True)
class CommitteeAnswers:
    """What a model and its committee answered to requests, row by row."""

    predicted: Array
    confidence: Array
    cells: Array
    heads: Array
    """Whether each head [rows, HEADS] answered as the model did."""
    committee: Array
    pairs: Array

    def counts(self, classes: int) -> AgreementCounts:
        """Return the counts of all rows."""
        return AgreementCounts(
            samples=len(self.predicted),
            cells=_tuple(np.bincount(self.cells, minlength=CELLS)),
            committee=int(self.committee.sum()),
            heads=_tuple(self.heads.sum(axis=0)),
            pairs=_tuple(self.pairs.sum(axis=0)),
            predicted=_tuple(np.bincount(self.predicted, minlength=classes)),
        )


class Committee:
    """The heads of a document, ready to answer."""

    def __init__(self, document: MonitorDocument) -> None:
        self._document = document
        self._heads = [(*_layer(head.hidden), *_layer(head.classes)) for head in document.heads]

    def answered(self, inputs: Mapping[str, Array], output: Array) -> CommitteeAnswers:
        """Return what the model (`output` [rows, classes]) and the committee answer to inputs [rows, …] by name.

        Raises:
            ValueError: rows or classes are not those of the document.
        """
        model = probabilities(self._document.scores, output)
        seen = views(self._document.view, inputs)
        if model.shape != (len(seen[0]), self._document.classes):
            raise ValueError(f"the output has shape {model.shape}, expected {(len(seen[0]), self._document.classes)}")
        found = [probabilities_of(head, view) for head, view in zip(self._heads, seen, strict=True)]
        return compared(model, found)


def compared(model: Array, heads: Sequence[Array]) -> CommitteeAnswers:
    """Return how a model's probabilities [rows, classes] compare with those of each head."""
    predicted, confidence = model.argmax(axis=1), model.max(axis=1)
    by_head = [head.argmax(axis=1) for head in heads]
    agree = np.column_stack([one == predicted for one in by_head])
    pairs = np.column_stack([by_head[a] == by_head[b] for a in range(HEADS) for b in range(a + 1, HEADS)])
    together = np.add.reduce(heads).argmax(axis=1)
    unsure = -np.log(1.0 - np.clip(confidence.astype(np.float64), 0.0, 1.0) + 1e-4)
    cells = np.searchsorted(CONFIDENCE_EDGES, unsure) * (HEADS + 1) + agree.sum(axis=1)
    return CommitteeAnswers(predicted, confidence, cells, agree, together == predicted, pairs)


def probabilities(scores: Scores, output: Array) -> Array:
    """Return probabilities [rows, classes] of what a model answers; what is no number counts as 0."""
    found = np.nan_to_num(output.reshape(len(output), -1).astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    if scores is Scores.LOGITS:
        return softmax(np.clip(np.nan_to_num(output.reshape(len(output), -1).astype(np.float32)), -_MOST, _MOST))
    if scores is Scores.POSITIVE:
        return np.concatenate([1.0 - found, found], axis=1)
    return found


def probabilities_of(head: HeadWeights, view: Array) -> Array:
    """Return what a head answers [rows, classes] to a view [rows, numbers]."""
    hidden = view @ head[0] + head[1]
    return softmax(np.maximum(hidden, 0.0, out=hidden) @ head[2] + head[3])


def softmax(logits: Array) -> Array:
    """Return the probabilities of logits, along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _layer(layer: DenseLayer) -> tuple[Array, Array]:
    weights = np.frombuffer(layer.weights, np.int8).reshape(layer.inputs, layer.outputs).astype(np.float32)
    return weights * np.float32(layer.scale), np.frombuffer(layer.biases, "<f4").astype(np.float32)


def _tuple(counts: Array) -> tuple[int, ...]:
    return tuple(map(int, counts))
