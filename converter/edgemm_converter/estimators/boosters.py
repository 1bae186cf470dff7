"""The ensembles of boosting libraries, read from what they say of themselves: XGBoost, LightGBM.

onnxmltools converts some objectives into answers of another kind without a word (ranking, hinge, survival), so these
are read here: trees as they are, and the link of each objective by the library's documentation. What is not read is
refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgemm.errors import ConversionError
from edgemm_converter.estimators.tree_tables import LEAF, Ensemble, Link, Tree, TreeNode

_XGBOOST_LINKS: Mapping[str, Link] = {
    "reg:logistic": Link.SIGMOID,
    "binary:logistic": Link.SIGMOID,
    "binary:hinge": Link.SIGN,
    "multi:softmax": Link.SOFTMAX,
    "multi:softprob": Link.SOFTMAX,
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft"), Link.EXP),
    **dict.fromkeys(
        (
            "reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror",
            "reg:quantileerror", "reg:expectileerror", "binary:logitraw", "rank:pairwise", "rank:ndcg", "rank:map",
        ),
        Link.IDENTITY,
    ),
}  # fmt: skip
"""https://xgboost.readthedocs.io/en/stable/parameter.html#learning-task-parameters"""

_XGBOOST_CLASSES = ("binary:logistic", "multi:softmax", "multi:softprob")
_LIGHTGBM_LINKS: Mapping[str, Link] = {
    "binary": Link.SIGMOID,
    "multiclass": Link.SOFTMAX,
    "multiclassova": Link.SIGMOID,
    "cross_entropy": Link.SIGMOID,
    "cross_entropy_lambda": Link.LOG1P_EXP,
    **dict.fromkeys(("poisson", "gamma", "tweedie"), Link.EXP),
    **dict.fromkeys(
        (
            "", "none", "custom", "regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank",
            "rank_xendcg",
        ),
        Link.IDENTITY,
    ),
}  # fmt: skip
"""https://lightgbm.readthedocs.io/en/stable/Parameters.html#objective"""

_LIGHTGBM_CLASSES = ("binary", "multiclass", "multiclassova")
_ZERO = float(np.float32(1e-35))
"""Up to this magnitude LightGBM takes a value for 0 before it looks at a tree (kZeroThreshold)."""

_BELOW_ZERO = float(np.nextafter(np.float32(-1e-35), np.float32(-1)))


def of_xgboost(booster: Any, *, rounds: int | None = None) -> Ensemble:
    """Return the ensemble of a booster of XGBoost; of its first `rounds` alone where early stopping chose so many.

    Raises:
        ConversionError: it holds no plain trees of numbers, or its objective is unknown.
    """
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    objective, booster_name = learner["objective"]["name"], learner["gradient_booster"]["name"]
    link = _XGBOOST_LINKS.get(objective)
    if link is None:
        raise unknown("XGBoost", f"objective {objective}")
    if booster_name not in ("gbtree", "dart"):
        raise unknown("XGBoost", f"booster {booster_name}")
    model = learner["gradient_booster"]
    weights = model.get("weight_drop")
    model = model.get("gbtree", model)["model"]
    parameters = learner["learner_model_param"]
    labels = int(parameters.get("num_target", "1"))  # several: each row has a probability of each, and no one class
    targets = max(1, int(parameters["num_class"]), labels)
    trees = [
        Tree(_xgboost_nodes(tree, float(weights[i]) if weights else 1.0), int(model["tree_info"][i]))
        for i, tree in enumerate(model["trees"])
    ]
    if rounds is not None:
        trees = trees[: _until(model, rounds)]
    return Ensemble(
        tuple(trees), int(parameters["num_feature"]), _xgboost_base(parameters["base_score"], objective, targets),
        link, classifies=objective in _XGBOOST_CLASSES and labels <= 1, strict=True, single=True,
    )  # fmt: skip


def _until(model: Mapping[str, Any], rounds: int) -> int:
    """Return how many trees the first rounds have."""
    starts: Sequence[int] = model.get("iteration_indptr") or range(0)
    return int(starts[rounds]) if rounds < len(starts) else len(model["trees"])


def _xgboost_nodes(tree: Mapping[str, Any], weight: float) -> tuple[TreeNode, ...]:
    if int(tree["tree_param"].get("size_leaf_vector", "1") or 1) > 1:
        raise unknown("XGBoost", "trees with several values a leaf (multi_strategy='multi_output_tree')")
    if any(tree.get("split_type", ())):
        raise unknown("XGBoost", "splits by category (enable_categorical)")
    left, right = tree["left_children"], tree["right_children"]
    return tuple(
        TreeNode(LEAF, values=(float(np.float32(condition)) * weight,))
        if left[i] == -1
        else TreeNode(
            int(tree["split_indices"][i]),
            float(np.float32(condition)),
            left[i],
            right[i],
            bool(tree["default_left"][i]),
        )
        for i, condition in enumerate(tree["split_conditions"])
    )


def _xgboost_base(text: str, objective: str, targets: int) -> tuple[float, ...]:
    """Return the base margins; the file has what the link makes of them (ProbToMargin of each objective)."""
    found = json.loads(text) if text.startswith("[") else float(text)
    scores = [float(score) for score in (found if isinstance(found, list) else [found])]
    if objective.endswith(":logistic"):
        scores = [float(-np.log(1.0 / score - 1.0)) if 0 < score < 1 else score for score in scores]
    elif _XGBOOST_LINKS[objective] is Link.EXP:
        scores = [float(np.log(score)) for score in scores]
    return tuple(scores) if len(scores) == targets else (scores[0],) * targets


def of_lightgbm(booster: Any) -> Ensemble:
    """Return the ensemble of a booster of LightGBM, up to the round that early stopping chose.

    Raises:
        ConversionError: it holds no plain trees of numbers, or its objective is unknown.
    """
    rounds = booster.best_iteration if booster.best_iteration and booster.best_iteration > 0 else None
    model = booster.dump_model(num_iteration=rounds)
    objective, *arguments = str(model.get("objective", "")).split(" ") or [""]
    options = dict(argument.split(":", 1) for argument in arguments if ":" in argument)
    link = _LIGHTGBM_LINKS.get(objective)
    if link is None:
        raise unknown("LightGBM", f"objective {objective}")
    if objective.startswith("regression") and "sqrt" in arguments:
        link = Link.SIGNED_SQUARE
    each = int(model["num_tree_per_iteration"])
    trees = tuple(Tree(_lightgbm_nodes(tree["tree_structure"]), i % each) for i, tree in enumerate(model["tree_info"]))
    mean = each / len(trees) if model.get("average_output") and trees else 1.0
    slope = float(options.get("sigmoid", 1.0)) if link is Link.SIGMOID else 1.0
    return Ensemble(
        trees, int(model["max_feature_idx"]) + 1, (0.0,) * each, link, classifies=objective in _LIGHTGBM_CLASSES,
        scale=mean * slope,
    )  # fmt: skip


def _lightgbm_nodes(root: Mapping[str, Any]) -> tuple[TreeNode, ...]:
    """Return the nodes of a tree; without recursion, for trees are as deep as their data let them be."""
    found: list[TreeNode | None] = []
    waiting: list[tuple[Mapping[str, Any], int]] = [(root, 0)]
    found.append(None)
    while waiting:
        tree, place = waiting.pop()
        if tree.get("leaf_coeff"):
            raise unknown("LightGBM", "trees with a linear model in each leaf (linear_tree)")
        if "split_feature" not in tree:
            found[place] = TreeNode(LEAF, values=(float(tree["leaf_value"]),))
            continue
        if tree["decision_type"] != "<=":
            raise unknown("LightGBM", "splits by category (categorical_feature)")
        left, right = len(found), len(found) + 1
        found += [None, None]
        waiting += [(tree["left_child"], left), (tree["right_child"], right)]
        threshold = _beside_zero(float(tree["threshold"]))
        missing_left = _lightgbm_missing(tree["missing_type"], threshold, default_left=bool(tree["default_left"]))
        found[place] = TreeNode(int(tree["split_feature"]), threshold, left, right, missing_left)
    return tuple(node for node in found if node is not None)


def _beside_zero(threshold: float) -> float:
    """Return a threshold that tells values from one another as LightGBM does, to which those next to 0 are 0."""
    if 0 <= threshold < _ZERO:
        return _ZERO
    return _BELOW_ZERO if -_ZERO <= threshold < 0 else threshold


def _lightgbm_missing(kind: str, threshold: float, *, default_left: bool) -> bool:
    """Return where a missing value goes (tree.h, NumericalDecision): to the default, or where 0 goes."""
    if kind == "NaN":
        return default_left
    if kind == "Zero":
        if default_left != (threshold >= 0):
            raise unknown("LightGBM", "trees in which 0 is a missing value (zero_as_missing)")
        return default_left
    return threshold >= 0


def check_missing(model: Any) -> None:
    """Refuse an estimator of XGBoost that takes a number for a missing value: its booster knows nothing of it.

    Raises:
        ConversionError: it takes another number than NaN.
    """
    missing = getattr(model, "missing", np.nan)
    if missing is not None and not np.isnan(missing):
        raise ConversionError(
            f"{type(model).__name__} takes {missing:g} for a missing value, and a device NaN: train it with missing=nan"
        )


def best_rounds(booster: Any) -> int | None:
    """Return how many rounds of a booster of XGBoost early stopping chose; None for all."""
    best = booster.attr("best_iteration")
    return int(best) + 1 if best is not None else None


def unknown(library: str, what: str) -> ConversionError:
    """Return the refusal of something that a library has and that is not converted."""
    return ConversionError(
        f"{library}: {what}: edgemm does not convert these: train the model without, or leave this part outside of it"
    )
