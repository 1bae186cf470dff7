"""The training of one head of the committee: a hidden layer and softmax, by Adam, in NumPy. Pure.

The same views, classes and seed give the same weights on one machine: nothing is drawn from anywhere else.
Adam after Kingma and Ba (2015).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgemm.monitoring.monitor_document import CommitteeHead, DenseLayer
from edgemm_converter.data.arrays import Array
from edgemm_runtime.monitoring import committee
from edgemm_runtime.monitoring.committee import softmax

_RATE, _DECAY, _BATCH = 4e-3, 1e-2, 256
_FIRST, _SECOND, _SMALL = 0.9, 0.999, 1e-8
_INT8 = 127.0


@dataclass(frozen=True)
class Effort:
    """How large a head is and how long it learns: bounded by work, not by the clock."""

    hidden: int = 48
    epochs: int = 9
    rows: int = 45_000
    """Rows of corrupted data, at most."""


def trained(views: Array, classes: Array, *, count: int, effort: Effort, seed: int) -> committee.HeadWeights:
    """Return a head for views [rows, numbers] of `count` classes, with the standardisation of views folded in."""
    random = np.random.default_rng(seed)
    mean, deviation = views.mean(axis=0, dtype=np.float64), views.std(axis=0, dtype=np.float64)
    deviation = np.where(deviation < 1e-6, 1.0, deviation)
    scaled = ((views - mean) / deviation).astype(np.float32)
    weights = _first_weights(random, scaled.shape[1], effort.hidden, count)
    means, squares = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]
    step = 0
    for _ in range(effort.epochs):
        order = random.permutation(len(scaled))
        for start in range(0, len(order), _BATCH):
            places = order[start : start + _BATCH]
            step += 1
            rate = np.float32(_RATE * np.sqrt(1 - _SECOND**step) / (1 - _FIRST**step))
            for i, slope in enumerate(_slopes(weights, scaled[places], classes[places])):
                means[i] += np.float32(1 - _FIRST) * (slope - means[i])
                squares[i] += np.float32(1 - _SECOND) * (slope * slope - squares[i])
                weights[i] -= rate * means[i] / (np.sqrt(squares[i]) + np.float32(_SMALL))
    folded = (weights[0] / deviation[:, None]).astype(np.float32)
    moved = (weights[1] - (mean / deviation) @ weights[0]).astype(np.float32)
    return folded, moved, weights[2], weights[3]


def rounded(head: committee.HeadWeights) -> CommitteeHead:
    """Return a head as a document holds it, with weights of 8 bits."""
    return CommitteeHead(hidden=_layer(head[0], head[1]), classes=_layer(head[2], head[3]))


def _first_weights(random: np.random.Generator, inputs: int, hidden: int, classes: int) -> list[Array]:
    """Return weights as Glorot and Bengio (2010) start them."""

    def uniform(rows: int, columns: int) -> Array:
        most = np.sqrt(6.0 / (rows + columns))
        return random.uniform(-most, most, (rows, columns)).astype(np.float32)

    return [
        uniform(inputs, hidden), np.zeros(hidden, np.float32), uniform(hidden, classes), np.zeros(classes, np.float32),
    ]  # fmt: skip


def _slopes(weights: list[Array], views: Array, classes: Array) -> tuple[Array, Array, Array, Array]:
    """Return the gradient of the mean cross-entropy with a decay of the weights."""
    hidden = np.maximum(views @ weights[0] + weights[1], 0.0)
    error = softmax(hidden @ weights[2] + weights[3])
    error[np.arange(len(classes)), classes] -= 1.0
    error /= len(classes)
    back = (error @ weights[2].T) * (hidden > 0)
    decay = np.float32(_DECAY / len(classes))
    return (
        views.T @ back + decay * weights[0], back.sum(axis=0),
        hidden.T @ error + decay * weights[2], error.sum(axis=0),
    )  # fmt: skip


def _layer(weights: Array, biases: Array) -> DenseLayer:
    scale = float(np.abs(weights).max(initial=0.0)) / _INT8 or 1.0
    return DenseLayer(
        inputs=weights.shape[0],
        outputs=weights.shape[1],
        scale=float(np.float32(scale)),
        weights=np.round(weights / np.float32(scale)).clip(-_INT8, _INT8).astype(np.int8).tobytes(),
        biases=biases.astype("<f4").tobytes(),
    )
