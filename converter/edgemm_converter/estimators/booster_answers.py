"""The answers of boosters of XGBoost and LightGBM themselves, with the rounds that they answer with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from edgemm_converter.estimators import boosters
from edgemm_converter.estimators.tree_tables import Ensemble, Link


def booster(model: Any, library: str) -> Any:
    """Return the booster in an estimator of one of the libraries.

    Raises:
        ConversionError: as `boosters.check_missing`.
    """
    if library == "lightgbm":
        return model.booster_
    boosters.check_missing(model)
    return model.get_booster()


def of(found: Any, library: str, model: Any) -> tuple[Ensemble, Callable[[Any], Any]]:
    """Return the trees of a booster, and what answers rows: [rows], or [rows, classes].

    `model` is the estimator that it comes from, None where it comes from a file of its own.

    Raises:
        ConversionError: it cannot be converted.
    """
    if library == "lightgbm":
        return boosters.of_lightgbm(found), found.predict
    rounds = _rounds(found, model)
    ensemble = boosters.of_xgboost(found, rounds=rounds)
    return ensemble, partial(_xgboost_answer, found, ensemble, rounds)


def _rounds(found: Any, model: Any) -> int | None:
    """Return how many rounds a model answers with: those up to the best, where scikit-learn's interface trained it."""
    of_sklearn = model is not None or found.attr("scikit_learn") is not None
    return boosters.best_rounds(found) if of_sklearn else None


def _xgboost_answer(found: Any, ensemble: Ensemble, rounds: int | None, rows: Any) -> Any:
    import xgboost

    asked = found.copy()
    if ensemble.link is Link.SOFTMAX:
        asked.set_param({"objective": "multi:softprob"})  # multi:softmax answers with the label alone
    matrix = xgboost.DMatrix(rows.astype(np.float32))
    matrix.feature_names = found.feature_names
    matrix.feature_types = found.feature_types
    return asked.predict(matrix, iteration_range=(0, rounds or 0))
