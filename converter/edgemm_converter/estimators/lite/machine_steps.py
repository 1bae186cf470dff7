"""Support vector machines of ai.onnx.ml in TFLite, for a batch of one row: kernels of all vectors, then sums. Pure.

A classifier compares its classes two by two: each pair has a score, whose sign is a vote for one of them, and the class
with most votes is the label (libsvm; onnxruntime/core/providers/cpu/ml/svmclassifier.cc). Probabilities, for which the
pairs are coupled by iteration, are not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from edgemm_converter.estimators.lite.composites import best, cast, dense, number, reduced, two
from edgemm_converter.estimators.lite.flat_graph import Array, FlatGraph, Value
from edgemm_converter.estimators.lite.learner_steps import class_at, classes_of
from edgemm_converter.estimators.lite.step import Given, GraphStep, Handler

_NO_LINK = b"NONE"


def _kernels(graph: FlatGraph, step: GraphStep, row: Value, count: int) -> Value:
    """Add the kernel [1, vectors] of a row [1, columns] with each support vector."""
    vectors = np.array(step.get("support_vectors"), np.float32).reshape(count, -1)
    kind, parameters = step.get("kernel_type", b"LINEAR"), step.get("kernel_params") or [0.0, 0.0, 0.0]
    gamma, offset, degree = (number(graph, one) for one in parameters)
    if kind == b"RBF":
        apart = two(graph, "SUB", row, graph.constant(vectors))
        squares = reduced(graph, "SUM", two(graph, "MUL", apart, apart), [1], keep=False)
        exponents = graph.add("NEG", [two(graph, "MUL", squares, gamma)])
        return graph.shaped(graph.add("EXP", [exponents]), (1, count))
    products = dense(graph, row, vectors.T)
    if kind == b"LINEAR":
        return products
    if kind not in (b"POLY", b"SIGMOID"):
        raise step.refused(f"with the kernel {kind.decode()}")
    inner = two(graph, "ADD", two(graph, "MUL", products, gamma), offset)
    return graph.add("TANH", [inner]) if kind == b"SIGMOID" else two(graph, "POW", inner, degree)


def _check(step: GraphStep) -> None:
    if step.get("post_transform", _NO_LINK) != _NO_LINK or step.get("prob_a"):
        raise step.refused("with probabilities")


def _regressor(graph: FlatGraph, step: GraphStep, given: Given) -> Value:
    _check(step)
    count, weights = step.get("n_supports", 0), np.array(step.get("coefficients"), np.float32)
    row = _kernels(graph, step, given[0], count) if count else given[0]
    value = dense(graph, row, weights[:, np.newaxis], np.array(step.get("rho")[:1]))
    if not step.get("one_class"):
        return value
    inside = cast(graph, two(graph, "GREATER", value, number(graph, 0.0), dtype=bool), "float32")
    return two(graph, "SUB", two(graph, "MUL", inside, number(graph, 2.0)), number(graph, 1.0))


def _classifier(graph: FlatGraph, step: GraphStep, given: Given) -> tuple[Any, Value]:
    _check(step)
    classes, counts = classes_of(step), step.get("vectors_per_class")
    if not counts:
        raise step.refused("without support vectors")
    pairs = list(combinations(range(len(classes)), 2))
    kernels = _kernels(graph, step, given[0], sum(counts))
    scores = dense(graph, kernels, _pair_weights(step, counts, pairs), np.array(step.get("rho")))
    first = cast(graph, two(graph, "GREATER", scores, number(graph, 0.0), dtype=bool), "float32")
    swings, seconds = np.zeros((len(pairs), len(classes))), np.zeros(len(classes))
    for place, (one, other) in enumerate(pairs):
        swings[place, [one, other]] = 1, -1
        seconds[other] += 1
    label = class_at(graph, classes, best(graph, dense(graph, first, swings, seconds)))
    if len(pairs) == 1:
        scores = graph.add("CONCATENATION", [graph.add("NEG", [scores]), scores], shape=(1, 2), axis=1)
    return label, scores


def _pair_weights(step: GraphStep, counts: list[int], pairs: list[tuple[int, int]]) -> Array:
    """Return the weight [vectors, pairs] of each support vector in the score of each pair of classes."""
    total, ends = sum(counts), np.cumsum(counts)
    given = np.array(step.get("coefficients"), np.float32).reshape(len(counts) - 1, total)
    weights = np.zeros((total, len(pairs)), np.float32)
    for place, (one, other) in enumerate(pairs):
        for whose, row in ((one, other - 1), (other, one)):
            part = slice(int(ends[whose]) - counts[whose], int(ends[whose]))
            weights[part, place] = given[row, part]
    return weights


HANDLERS: Mapping[str, Handler] = {"SVMClassifier": _classifier, "SVMRegressor": _regressor}
"""By the operation of the domain ai.onnx.ml."""
