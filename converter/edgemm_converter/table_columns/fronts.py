"""The split of a model of named columns: the steps that make numbers of them, and what computes of these. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edgemm_converter.table_columns.named_columns import VECTORIZERS

_FRONT = (
    "ColumnTransformer", "FeatureUnion", "FunctionTransformer", "MissingIndicator", "OneHotEncoder", "OrdinalEncoder",
    "SimpleImputer", "TargetEncoder", *VECTORIZERS,
)  # fmt: skip


def split(model: Any) -> tuple[tuple[Any, ...], Any]:
    """Return the leading steps that take columns, and the estimator or pipeline behind them, None without any.

    A model that is no pipeline computes of its columns as numbers, unless it is such a step itself.
    """
    steps = getattr(model, "steps", None)
    if steps is None:
        return ((model,), None) if type(model).__name__ in _FRONT else ((), model)
    count = 0
    while count < len(steps) and _is_front(steps[count][1]):
        count += 1
    front = tuple(step for _, step in steps[:count])
    if count == len(steps):
        return front, None
    rest = model[count:]
    return front, rest.steps[0][1] if len(rest.steps) == 1 else rest


def _is_front(step: Any) -> bool:
    if step is None or isinstance(step, str):
        return True
    if type(step).__name__ == "Pipeline":
        return all(_is_front(one) for _, one in step.steps)
    return type(step).__name__ in _FRONT


_SCALERS = ("MaxAbsScaler", "MinMaxScaler", "RobustScaler", "StandardScaler")
_WRITTEN_HERE = (
    "KBinsDiscretizer", "MissingIndicator", "OneHotEncoder", "OrdinalEncoder", "SimpleImputer", "TargetEncoder",
)  # fmt: skip


def is_exact(front: Iterable[Any], behind: Any) -> bool:
    """Tell whether what is written makes the numbers that steps make, in double precision.

    `front` are steps that take columns, `behind` is a step or pipeline that skl2onnx writes, None without any.
    """
    return all(_is_exact(one, (*_SCALERS, *_WRITTEN_HERE)) for one in front) and _is_exact(behind, _SCALERS)


def _is_exact(step: Any, known: tuple[str, ...]) -> bool:
    if step is None or isinstance(step, str):
        return True
    if type(step).__name__ == "Pipeline":
        return all(_is_exact(one, known) for _, one in step.steps)
    if type(step).__name__ == "ColumnTransformer" and len(known) > len(_SCALERS):
        return step.transformer_weights is None and all(_is_exact(one, known) for _, one, _ in step.transformers_)
    return type(step).__name__ in known and type(step).__module__.startswith("sklearn.")
