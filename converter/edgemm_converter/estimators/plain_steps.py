"""Steps of pipelines in the plainer way that converters know: nothing that they answer with changes.

A step that does nothing is taken out, a frozen estimator or a search is what it holds, a recursive elimination that
predicts is its selection and the model behind it, linear discriminants of two classes are the logistic regression that
they answer as, weights are an array, classes that are integers have 64 bits, and
one-hot bins are dense.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

_NOTHING = (None, "passthrough")
_MOST_PARTS = 10_000


def simplified(model: Any) -> Any:
    """Return a fitted estimator with simplified parts, which are changed in place; anything else as it is."""
    if not _is_estimator(model):
        return model
    model = _last(_held(model))
    waiting, known = [model], {id(model)}
    while waiting and len(known) < _MOST_PARTS:
        part = waiting.pop()
        _simplify(part)
        for other in _parts(part):
            if id(other) not in known:
                known.add(id(other))
                waiting.append(other)
    return model


def _held(model: Any) -> Any:
    """Return the estimator that a frozen one or a search answers with."""
    library, name = type(model).__module__.partition(".")[0], type(model).__name__
    if library != "sklearn":
        return model
    return model.estimator if name == "FrozenEstimator" else getattr(model, "best_estimator_", model)


def _last(model: Any) -> Any:
    """Return what answers, alone or as the last step of a pipeline, as converters know it."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    name = type(model).__name__
    if name in ("RFE", "RFECV") and hasattr(model, "estimator_"):
        return Pipeline([("selection", model), ("model", model.estimator_)])
    if name == "LinearDiscriminantAnalysis" and len(getattr(model, "classes_", ())) == 2:
        # Both answer with the logistic function of one linear decision.
        made = LogisticRegression()
        made.coef_, made.intercept_, made.classes_ = model.coef_, model.intercept_, model.classes_
        made.n_features_in_ = model.n_features_in_
        if hasattr(model, "feature_names_in_"):
            made.feature_names_in_ = model.feature_names_in_
        return made
    if type(model) is Pipeline:
        *before, (step, last) = model.steps
        model.steps = [*before, (step, _last(last))] if _is_estimator(last) else model.steps
    return model


def _simplify(part: Any) -> None:
    name = type(part).__name__
    classes = vars(part).get("classes_")
    if isinstance(classes, np.ndarray) and classes.dtype.kind in "iu" and np.can_cast(classes.dtype, np.int64):
        part.classes_ = classes.astype(np.int64)
    if name == "Pipeline":
        steps = [(key, step) for key, step in part.steps if not _is_nothing(step)]
        transforms = _is_nothing(part.steps[-1][1]) and steps and hasattr(steps[-1][1], "predict")
        part.steps = [*steps, part.steps[-1]] if transforms else steps or part.steps
    elif name == "FeatureUnion":
        part.transformer_list = [(key, _as_step(step)) for key, step in part.transformer_list if step != "drop"]
    elif name in ("VotingClassifier", "VotingRegressor") and part.weights is not None:
        part.weights = np.asarray(part.weights)
    elif name == "KBinsDiscretizer" and part.encode == "onehot":
        part.encode = "onehot-dense"


def _is_nothing(step: Any) -> bool:
    return step is None or (isinstance(step, str) and step in _NOTHING)


def _as_step(step: Any) -> Any:
    from sklearn.preprocessing import FunctionTransformer

    return FunctionTransformer() if _is_nothing(step) else step


def _parts(part: Any) -> Iterator[Any]:
    """Yield the estimators that an estimator is made of, those that it holds in place of frozen ones."""
    for key, value in list(vars(part).items()):
        if isinstance(value, list):
            value[:] = [_unfrozen(one) for one in value]
        elif _is_estimator(value):
            setattr(part, key, _held(value))
        yield from _estimators(getattr(part, key))


def _unfrozen(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_held(one) if _is_estimator(one) else one for one in value)
    return _held(value) if _is_estimator(value) else value


def _estimators(value: Any) -> Iterator[Any]:
    if _is_estimator(value) or type(value).__name__ == "_CalibratedClassifier":
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _estimators(one)
    elif isinstance(value, np.ndarray) and value.dtype == object:
        yield from (one for one in value.ravel() if _is_estimator(one))


def _is_estimator(value: Any) -> bool:
    return hasattr(value, "get_params") and hasattr(value, "fit") and not isinstance(value, type)
