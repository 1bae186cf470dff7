"""An estimator as a source: what it takes, what it answers by name, and its labels. Imports scikit-learn.

Rows are float32, as a device serves them, and the estimator computes of them in double precision, as where it was
trained. Its answers are those that people mean:

| estimator | outputs |
|---|---|
| classifier | `label` (place of the class among the labels), `probabilities`, or `scores` where it has none |
| regressor, ranker, survival model | `value` |
| detector of outliers | `label` (1, or -1 for an outlier), `scores` (negative for an outlier) |
| clustering | `label`, and `distances` or `probabilities` where it has them |
| transformer | `transformed` |
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from edgemm import library_errors
from edgemm.bundle.manifest import DType, Signature, TensorSpec
from edgemm.errors import InputError
from edgemm_converter.data.arrays import Array
from edgemm_converter.estimators import booster_answers, ensembles
from edgemm_converter.estimators.tree_tables import Ensemble

INPUT, LABEL, PROBABILITIES, SCORES = "input", "label", "probabilities", "scores"
REFUSALS = (
    ArithmeticError,
    AttributeError,
    IndexError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What code of an estimator raises about rows that it does not take."""

MOST_COLUMNS = 100_000
Answers = Callable[[npt.NDArray[np.float64]], Mapping[str, Any]]


@dataclass(frozen=True)
class Estimator:
    """A fitted estimator as it is served."""

    model: Any
    """What is converted: the model of the file, or what a search found best."""

    signature: Signature
    labels: tuple[str, ...] | None
    classes: Any
    """The classes of a classifier, in the order of its probabilities; None of any other."""

    answers: Answers
    ensemble: Ensemble | None = None
    """What is converted in place of `model`, or of its last step, where that is nothing but trees."""

    before: Any = None
    """The steps before those trees, where there are some."""

    zero_is_missing: bool = False
    """Whether those steps give sparse rows to XGBoost, to which what they leave out, a 0, is missing."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the answers to rows [batch, columns] by name."""
        rows = inputs[INPUT].astype(np.float64)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = self.answers(rows)
            return {
                spec.name: _shaped(found[spec.name], spec, self.classes if spec.name == LABEL else None)
                for spec in self.signature.outputs
            }


def of(found: Any, *, path: str, rows: Array | None = None) -> Estimator:
    """Return what was opened as an estimator; `rows` [rows, columns] are some that it takes, where they are known.

    Raises:
        InputError: it is none, or was never fitted, or answers nothing that is served.
    """
    model = getattr(found, "best_estimator_", found)
    library = type(model).__module__.partition(".")[0]
    if type(model).__name__ == "Booster" and library in ("xgboost", "lightgbm"):
        return _of_booster(model, library, None, path=path, rows=rows)
    if not hasattr(model, "fit") or not hasattr(model, "get_params"):
        raise InputError(f"{path}: expected an estimator of scikit-learn, found an object of {type(model).__name__}")
    _check_fitted(model, path=path)
    if library in ("xgboost", "lightgbm"):
        return _of_booster(booster_answers.booster(model, library), library, model, path=path, rows=rows)
    columns = getattr(model, "n_features_in_", None)
    if not columns:
        raise InputError(
            f"{path}: {type(model).__name__} does not say how many columns it takes: it was fitted on text or on no "
            "rows, and edgemm takes rows of numbers"
        )
    classes = getattr(model, "classes_", None) if _kind(model) == "classifier" else None
    if isinstance(classes, list):
        raise _several_targets(model, len(classes), path=path)
    answers = _answers(model, path=path)
    return _served(model, int(columns), answers, classes, path=path, rows=rows, **_trees(model))


def _several_targets(model: Any, count: int, *, path: str) -> InputError:
    return InputError(f"{path}: {type(model).__name__} has {count} targets of classes: fit one model for each")


def _trees(model: Any) -> dict[str, Any]:
    steps = getattr(model, "steps", ())
    if len(steps) > 1 and isinstance(model, Pipeline):
        table = ensembles.of(model[-1])
        return {"ensemble": table, "before": model[:-1] if table is not None else None}
    return {"ensemble": ensembles.of(model)}


def _kind(model: Any) -> str:
    try:
        return str(model.__sklearn_tags__().estimator_type or "")
    except (AttributeError, TypeError):
        return str(getattr(model, "_estimator_type", ""))


def _check_fitted(model: Any, *, path: str) -> None:
    try:
        check_is_fitted(model)
    except NotFittedError as err:
        raise InputError(f"{path}: {type(model).__name__} was never fitted: call its fit() and save it again") from err
    except (TypeError, ValueError) as err:
        raise InputError(f"{path}: {type(model).__name__} is no estimator: {library_errors.quoted(err)}") from err


def _answers(model: Any, *, path: str) -> Answers:
    kind = _kind(model)
    methods: dict[str, Callable[..., Any]] = {}
    if kind == "classifier":
        methods = {LABEL: model.predict} | _scores(model)
    elif kind == "outlier_detector" and hasattr(model, "predict"):
        methods = {LABEL: model.predict, SCORES: model.decision_function}
    elif kind in ("clusterer", "density_estimator") and hasattr(model, "predict"):
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


def _of_booster(booster: Any, library: str, model: Any, *, path: str, rows: Array | None) -> Estimator:
    """Return a booster, of a file of its own or out of an estimator, as it answers with its own rounds."""
    ensemble, margins = booster_answers.of(booster, library, model)
    classes = getattr(model, "classes_", None)
    if ensemble.classifies and classes is None:
        classes = np.arange(max(2, ensemble.targets))

    def answers(rows: Any) -> Mapping[str, Any]:
        found = np.asarray(margins(rows))
        if not ensemble.classifies:
            return {"value": found}
        both = np.stack([1 - found, found], axis=1) if found.ndim == 1 else found
        return {PROBABILITIES: both, LABEL: np.asarray(classes)[both.argmax(axis=1)]}

    return _served(
        booster,
        ensemble.features,
        answers,
        classes if ensemble.classifies else None,
        path=path,
        rows=rows,
        ensemble=ensemble,
    )


def _served(
    model: Any,
    columns: int,
    answers: Answers,
    classes: Any,
    *,
    path: str,
    rows: Array | None,
    ensemble: Ensemble | None,
    before: Any = None,
) -> Estimator:
    if columns > MOST_COLUMNS:
        raise InputError(f"{path}: it takes {columns:,} columns, expected at most {MOST_COLUMNS:,}")
    given = TensorSpec(name=INPUT, dtype=DType.FLOAT32, shape=(-1, columns))
    fits = rows is not None and rows.shape[1:] == (columns,)
    some = rows[[0, -1]].astype(np.float64) if rows is not None and fits else np.ones((2, columns))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            found = answers(some)
        except REFUSALS as err:
            raise InputError(
                f"{path}: {type(model).__name__} takes no rows of numbers: {library_errors.quoted(err)}; edgemm "
                "converts estimators of one table of numbers (if it takes few values alone, give them by --calibration)"
            ) from err
    if LABEL in found and np.ndim(found[LABEL]) > 1:
        raise _several_targets(model, found[LABEL].shape[1], path=path)
    order = sorted(found, key=lambda name: name != LABEL)
    outputs = tuple(_spec(name, found[name]) for name in order)
    labels = tuple(str(one) for one in classes) if classes is not None else None
    signature = Signature(inputs=(given,), outputs=outputs)
    sparse = before is not None and ensemble is not None and ensemble.strict and _is_sparse(before, some)
    return Estimator(model, signature, labels, classes, answers, ensemble, before, zero_is_missing=sparse)


def _is_sparse(steps: Any, rows: Any) -> bool:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return hasattr(steps.transform(rows), "toarray")


def _spec(name: str, value: Any) -> TensorSpec:
    if name == LABEL:
        return TensorSpec(name=name, dtype=DType.INT64, shape=(-1,))
    shape = value.shape
    width = int(np.prod(shape[1:])) if len(shape) > 1 else 1
    return TensorSpec(name=name, dtype=DType.FLOAT32, shape=(-1, width))


def _shaped(value: Any, spec: TensorSpec, classes: Any) -> Array:
    if hasattr(value, "toarray"):
        value = value.toarray()
    array = np.asarray(value)
    if classes is not None:
        places = {one: place for place, one in enumerate(np.asarray(classes).tolist())}
        return np.array([places[one] for one in array.ravel().tolist()], np.int64)
    array = array.astype(spec.dtype.value)
    return array.reshape(-1) if len(spec.shape) == 1 else array.reshape(len(array), -1)
