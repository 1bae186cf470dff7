"""Metrics and their intervals, against scikit-learn and SciPy."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import optimize, stats
from sklearn import metrics as oracle

from edgemm.errors import InputError
from edgemm_converter.judging import metrics
from edgemm_converter.judging.metrics import Metric
from edgemm_runtime.tensors.named_arrays import Array

RNG = np.random.default_rng(3)
LABELS = RNG.integers(0, 4, 200)
SCORES = RNG.random((200, 4)) + 0.8 * np.eye(4)[LABELS]
WORSE = SCORES + RNG.normal(0, 0.4, SCORES.shape)
BINARY = (RNG.random(200) > 0.4).astype(np.int64)
CHANCES = np.clip(BINARY * 0.3 + RNG.random(200) * 0.7, 0, 1).round(2)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (Metric.ACCURACY, lambda y, p, s: oracle.accuracy_score(y, p)),
        (Metric.F1, lambda y, p, s: oracle.f1_score(y, p, average="macro")),
        (Metric.PRECISION, lambda y, p, s: oracle.precision_score(y, p, average="macro", zero_division=0)),
        (Metric.RECALL, lambda y, p, s: oracle.recall_score(y, p, average="macro")),
        (
            Metric.AUC,
            lambda y, p, s: (
                oracle.roc_auc_score(y, s / s.sum(1, keepdims=True), multi_class="ovr")
                if s.shape[1] > 2
                else oracle.roc_auc_score(y, s[:, -1])
            ),
        ),
    ],
)
def test_a_metric_is_scikit_learns(metric: Metric, expected: Callable[[Array, Array, Array], float]) -> None:
    rows = SCORES / SCORES.sum(1, keepdims=True)
    found = metrics.score(metric, rows[:, np.newaxis], LABELS)
    assert found == pytest.approx(expected(LABELS, rows.argmax(1), rows), abs=1e-12)
    one_column = CHANCES[:, np.newaxis, np.newaxis]
    found = metrics.score(metric, one_column, BINARY)
    assert found == pytest.approx(expected(BINARY, (CHANCES > 0.5).astype(int), CHANCES[:, None]), abs=1e-12)


def test_a_class_that_is_never_predicted_counts_as_nought() -> None:
    labels, scores = np.array([0, 1, 2, 2]), np.eye(3)[[0, 1, 1, 0]]
    said = scores.argmax(1)
    assert metrics.score(Metric.PRECISION, scores, labels) == pytest.approx(
        oracle.precision_score(labels, said, average="macro", zero_division=0)
    )
    assert metrics.score(Metric.F1, scores, labels) == pytest.approx(oracle.f1_score(labels, said, average="macro"))


def test_the_mean_squared_error_is_scikit_learns() -> None:
    wanted = SCORES + 1
    found = metrics.score(Metric.MSE, SCORES[:, np.newaxis], wanted[:, np.newaxis])
    assert found == pytest.approx(oracle.mean_squared_error(wanted, SCORES))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("places", [1, 3])
def test_metrics_of_numbers_are_scikit_learns(seed: int, places: int) -> None:
    rng = np.random.default_rng(seed)
    wanted = rng.normal(100, 30, (int(rng.integers(2, 60)), places))
    found = (wanted + rng.normal(0, 20, wanted.shape)).astype(np.float32)
    if seed % 5 == 0:
        wanted[:, 0] = 7.0  # a place of which R² is 1 or 0
        found[:, 0] = 7.0 if seed % 2 else 8.0
    for metric, expected in (
        (Metric.MSE, oracle.mean_squared_error),
        (Metric.MAE, oracle.mean_absolute_error),
        (Metric.R2, oracle.r2_score),
    ):
        assert metrics.score(metric, found[:, np.newaxis], wanted) == pytest.approx(expected(wanted, found), rel=1e-12)


def test_worse_is_positive_for_every_metric() -> None:
    noise = RNG.random(SCORES.shape)
    for metric in Metric:
        truth = SCORES + 0.1 if metric.is_of_numbers else LABELS
        found = metrics.drop(metric, SCORES, noise, truth)
        assert 0 < found.low < found.value < found.high, metric
        assert metrics.drop(metric, SCORES, SCORES, truth).value == 0


@pytest.mark.parametrize("metric", [Metric.F1, Metric.AUC, Metric.MSE, Metric.MAE])
def test_the_bootstrap_interval_is_scipys(metric: Metric) -> None:
    truth = SCORES if metric.is_of_numbers else LABELS
    sign = -1 if metric.is_error else 1

    def statistic(index: np.ndarray) -> float:
        chosen = index.astype(int)
        scored = [metrics.score(metric, rows[chosen], truth[chosen]) for rows in (SCORES, WORSE)]
        return sign * (scored[0] - scored[1])

    expected = stats.bootstrap(
        (np.arange(200),), statistic, n_resamples=1000, method="percentile", vectorized=False, rng=5
    ).confidence_interval
    found = metrics.drop(metric, SCORES, WORSE, truth)
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.12 * width)
    assert found.high == pytest.approx(expected.high, abs=0.12 * width)


def constrained(lost: int, gained: int, n: int, delta: float) -> float:
    """Tango's statistic with the constrained maximum of the likelihood found numerically."""

    def unlikely(q: float) -> float:
        cells = np.array([q + delta, q, 1 - 2 * q - delta])
        return -float((np.array([lost, gained, n - lost - gained]) * np.log(np.maximum(cells, 1e-300))).sum())

    low, high = max(0.0, -delta), (1 - delta) / 2
    q = optimize.minimize_scalar(unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    return float((lost - gained - n * delta) / np.sqrt(n * (2 * q + delta - delta**2)))


@pytest.mark.parametrize(("lost", "gained", "n"), [(6, 2, 45), (40, 20, 160), (1, 0, 45), (3, 9, 100)])
def test_the_paired_interval_ends_where_the_score_test_rejects(lost: int, gained: int, n: int) -> None:
    low, high = metrics.paired_interval(lost, gained, n)
    assert low < (lost - gained) / n < high
    assert constrained(lost, gained, n, low) == pytest.approx(1.959964, abs=1e-3)
    assert constrained(lost, gained, n, high) == pytest.approx(-1.959964, abs=1e-3)


@pytest.mark.parametrize("metric", [Metric.F1, Metric.PRECISION, Metric.RECALL, Metric.AUC])
def test_equal_answers_prove_little_by_any_metric_of_classes(metric: Metric) -> None:
    scores = np.random.default_rng(0).random((30, 3))
    found = metrics.drop(metric, scores, scores, np.arange(30) % 3)
    assert found.value == 0
    assert (found.low, found.high) == metrics.paired_interval(0, 0, 30)
    assert found.high > 0.1


def test_forty_five_equal_answers_prove_little() -> None:
    z = stats.norm.ppf(0.975) ** 2
    low, high = metrics.paired_interval(0, 0, 45)
    assert (-low, high) == pytest.approx((z / (45 + z), z / (45 + z)), abs=1e-9)
    assert high > 0.07


@pytest.mark.parametrize(
    ("metric", "output", "truth", "message"),
    [
        (Metric.ACCURACY, np.eye(3), np.array([0, 1]), "one label for each of 3 samples, found 2"),
        (Metric.F1, np.eye(3), np.array([0, 1, 3]), "expected labels from 0 to 2, found 0 to 3"),
        (Metric.RECALL, np.eye(3), np.array([-1, 0, 1]), "found -1 to 1"),
        (Metric.AUC, np.eye(3), np.array([1, 1, 1]), "two classes or more, found class 1 alone"),
        (Metric.MSE, np.eye(3), np.zeros((3, 2)), "as many wanted numbers as the output has, 3 a sample"),
        (Metric.ACCURACY, np.eye(3), np.zeros(3), "needs one class index for each sample, found float64"),
    ],
)
def test_labels_that_do_not_fit_are_refused(metric: Metric, output: Array, truth: Array, message: str) -> None:
    with pytest.raises(InputError, match=message):
        metrics.score(metric, output, truth)
