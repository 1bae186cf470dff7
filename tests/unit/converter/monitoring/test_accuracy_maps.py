"""The maps from agreement to accuracy and the interval's weights equal their oracles."""

import numpy as np
import pytest
from scipy.optimize import nnls
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import RidgeCV

from edgemm_converter.monitoring import accuracy_maps, interval_fit


@pytest.mark.parametrize("seed", range(5))
def test_isotonic_regression_is_scikit_learns(seed: int) -> None:
    random = np.random.default_rng(seed)
    x = np.round(random.random(400), 2)  # with ties
    y = np.clip(x + random.normal(0, 0.2, 400), 0, 1)
    knots, values = accuracy_maps.isotonic(x, y, knots=10_000)
    at = np.linspace(-0.1, 1.1, 300)
    oracle = IsotonicRegression(out_of_bounds="clip").fit(x, y)
    assert np.interp(at, knots, values) == pytest.approx(oracle.predict(at), abs=1e-9)
    few, fewer = accuracy_maps.isotonic(x, y)
    assert len(few) <= accuracy_maps.KNOTS
    assert (np.diff(fewer) >= 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_ridge_regression_is_scikit_learns(seed: int) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=(300, 8))
    y = x @ random.normal(size=8) * 0.1 + random.normal(0, 0.1, 300)
    mean, scale, weights, intercept = accuracy_maps.ridge(x, y)
    clipped = np.clip((x - mean) / scale, -5, 5)
    oracle = RidgeCV(alphas=np.logspace(-1, 4, 12)).fit(clipped, y)
    ours = accuracy_maps.ridge(x, y)
    assert clipped @ weights + intercept == pytest.approx(oracle.predict(clipped), abs=0.02)
    assert ours[2] == pytest.approx(weights)


@pytest.mark.parametrize("seed", range(20))
def test_weights_that_are_not_negative_are_scipys(seed: int) -> None:
    random = np.random.default_rng(seed)
    terms = np.abs(random.normal(size=(200, 5)))
    errors = np.abs(terms @ random.normal(size=5) + random.normal(0, 0.1, 200))
    weights, quantile = interval_fit.weights_of(terms, errors)
    assert weights == pytest.approx(nnls(terms, errors)[0], abs=1e-8)
    within = errors <= quantile * np.maximum(terms @ weights, 1e-6)
    assert within.mean() >= interval_fit.COVERED - 0.01


def test_landmarks_are_far_from_one_another() -> None:
    random = np.random.default_rng(1)
    shares = np.concatenate([random.normal(0, 0.01, (100, 29)), random.normal(1, 0.01, (3, 29))])
    scale, marks = interval_fit.landmarks(shares)
    away = interval_fit.distances(shares, scale, marks)
    assert len(marks) == interval_fit.LANDMARKS
    assert away.max() < 0.5
    assert interval_fit.distances(np.full((1, 29), 3.0), scale, marks)[0] > 5
