"""The figures of a classifier class by class."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from edgemm_converter.judging import confusion
from edgemm_converter.judging.confusion import ClassFigures, Confused


def test_counts_and_figures_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    truth, scores = random.integers(0, 5, 200), random.normal(size=(200, 1, 5))
    answers = scores[:, 0].argmax(axis=1)
    found = confusion.counts(scores, truth)
    assert found.tolist() == confusion_matrix(truth, answers, labels=range(5)).tolist()
    rows = confusion.figures(found)
    expected = precision_recall_fscore_support(truth, answers, labels=range(5))
    ours = np.array([(r.precision, r.recall, r.f1, r.samples) for r in rows], np.float64)
    np.testing.assert_allclose(ours, np.transpose(expected))


def test_a_class_that_never_occurs_has_no_row_and_one_without_samples_no_recall() -> None:
    scores = np.eye(4)[[0, 1, 1]]
    rows = confusion.figures(confusion.counts(scores, np.array([0, 0, 0])))
    assert rows == [
        ClassFigures(index=0, samples=3, precision=1.0, recall=1 / 3, f1=0.5),
        ClassFigures(index=1, samples=0, precision=0.0, recall=None, f1=0.0),
    ]


def test_a_lone_probability_has_two_classes() -> None:
    found = confusion.counts(np.array([[0.2], [0.7], [0.9]]), np.array([0, 0, 1]))
    assert found.tolist() == [[1, 1], [0, 1]]


def test_the_commonest_mistakes_come_first() -> None:
    found = np.array([[5, 1, 3], [0, 5, 0], [2, 0, 0]])
    expected = [Confused(0, 2, 3), Confused(2, 0, 2), Confused(0, 1, 1)]
    assert confusion.most_confused(found, limit=9) == expected
    assert confusion.most_confused(found, limit=1) == expected[:1]
