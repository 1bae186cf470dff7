"""The methods of a fitted estimator that answer rows, by the names that its answers are served with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from edgemm import library_errors
from edgemm.errors import InputError

LABEL, PROBABILITIES, SCORES = "label", "probabilities", "scores"
Answers = Callable[[Any], Mapping[str, Any]]


def several_targets(model: Any, count: int, *, path: str) -> InputError:
    """Return what to tell of a classifier of several targets."""
    return InputError(f"{path}: {type(model).__name__} has {count} targets of classes: fit one model for each")


def column_names(model: Any) -> tuple[str, ...]:
    """Return the names of the columns that an estimator, or a booster, was fitted on; none where it knows none."""
    names = getattr(model, "feature_names_in_", None)
    names = names if names is not None else getattr(model, "feature_names", None)
    if names is None and callable(getattr(model, "feature_name", None)):  # a booster of LightGBM
        names = model.feature_name()
    return tuple(map(str, names)) if isinstance(names, (list, np.ndarray)) else ()


def kind(model: Any) -> str:
    """Return what kind of estimator it is, by scikit-learn's tags."""
    try:
        return str(model.__sklearn_tags__().estimator_type or "")
    except (AttributeError, TypeError):
        return str(getattr(model, "_estimator_type", ""))


def check_fitted(model: Any, *, path: str) -> None:
    """Check that an estimator was fitted.

    Raises:
        InputError: it was not, or is none.
    """
    try:
        check_is_fitted(model)
    except NotFittedError as err:
        raise InputError(f"{path}: {type(model).__name__} was never fitted: call its fit() and save it again") from err
    except (TypeError, ValueError) as err:
        raise InputError(f"{path}: {type(model).__name__} is no estimator: {library_errors.quoted(err)}") from err


def answers(model: Any, *, path: str) -> Answers:
    """Return what answers rows.

    Raises:
        InputError: it answers nothing about new rows.
    """
    found = kind(model)
    methods: dict[str, Callable[..., Any]] = {}
    if found == "classifier":
        methods = {LABEL: model.predict} | _scores(model)
    elif found == "outlier_detector" and hasattr(model, "predict"):
        methods = {LABEL: model.predict, SCORES: model.decision_function}
    elif found in ("clusterer", "density_estimator") and hasattr(model, "predict"):
        methods = {LABEL: model.predict}
        if hasattr(model, "predict_proba"):
            methods[PROBABILITIES] = model.predict_proba
        elif hasattr(model, "transform"):
            methods["distances"] = model.transform
    elif hasattr(model, "predict"):
        methods = {"value": model.predict}
    elif hasattr(model, "transform"):
        methods = {"transformed": model.transform}
    if not methods:
        raise InputError(
            f"{path}: {type(model).__name__} answers nothing about new rows: it has neither predict nor transform"
        )
    return lambda rows: {name: method(rows) for name, method in methods.items()}


def _scores(model: Any) -> dict[str, Callable[..., Any]]:
    if hasattr(model, "predict_proba"):
        return {PROBABILITIES: model.predict_proba}
    if hasattr(model, "decision_function"):
        return {SCORES: partial(_decided, model)}
    return {}


def _decided(model: Any, rows: Any) -> Any:
    """Return one score for each class: of two classes there is one, above 0 for the second."""
    found = np.asarray(model.decision_function(rows))
    return np.stack([-found, found], axis=1) if found.ndim == 1 else found
