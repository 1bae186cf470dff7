"""The ensembles of estimators: of boosting libraries, of scikit-learn's trees, forests and boosting.

skl2onnx writes trees of scikit-learn too; of those that split on missing values it never ends, and its boosting by
histograms fails. So ensembles that stand alone are written here. Imports no library: an estimator says what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemm.errors import ConversionError
from edgemm_converter.estimators import boosters
from edgemm_converter.estimators.tree_tables import LEAF, Ensemble, Link, Tree, TreeNode

_SHOWN = 60
_TREES = ("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor")
_FORESTS = ("RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor")
_HISTOGRAMS = ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor")
_BOOSTED = ("GradientBoostingClassifier", "GradientBoostingRegressor")


def of(model: Any) -> Ensemble | None:
    """Return the ensemble of an estimator that is nothing but trees, alone or as a step; None of any other.

    Raises:
        ConversionError: it is one, and has parts that are not converted.
    """
    library, name = type(model).__module__.partition(".")[0], type(model).__name__
    if library == "xgboost" and hasattr(model, "get_booster"):
        boosters.check_missing(model)
        found = boosters.of_xgboost(model.get_booster(), rounds=boosters.best_rounds(model.get_booster()))
        return _as_used(found, model)
    if library == "lightgbm" and hasattr(model, "booster_"):
        return _as_used(boosters.of_lightgbm(model.booster_), model)
    readers = {
        **dict.fromkeys(_HISTOGRAMS, _of_histograms),
        **dict.fromkeys(_TREES, lambda tree: _of_trees(tree, [tree])),
        **dict.fromkeys(_FORESTS, lambda forest: _of_trees(forest, forest.estimators_)),
        **dict.fromkeys(_BOOSTED, _of_boosting),
    }
    return readers[name](model) if library == "sklearn" and name in readers else None


def _as_used(found: Ensemble, model: Any) -> Ensemble:
    """Return the ensemble of a booster as its estimator answers with it, whose kind the objective need not be of.

    Raises:
        ConversionError: the estimator tells classes, and the objective does not.
    """
    if not hasattr(model, "predict_proba"):
        return replace(found, classifies=False)
    if not found.classifies:
        name, objective = type(model).__name__, str(getattr(model, "objective", "") or "its own")
        what = f"{found.targets} targets" if found.targets > 1 else f"objective {objective[:_SHOWN]}"
        raise ConversionError(
            f"{name}: {what}: a classifier with one class for each row is expected as a step: train one of one target "
            "with an objective for classes"
        )
    return found


def _of_histograms(estimator: Any) -> Ensemble:
    """Return the ensemble of a HistGradientBoosting estimator of scikit-learn.

    Raises:
        ConversionError: it splits by categories.
    """
    if getattr(estimator, "is_categorical_", None) is not None and np.any(estimator.is_categorical_):
        raise boosters.unknown(type(estimator).__name__, "splits by category (categorical_features)")
    classifies = hasattr(estimator, "classes_")
    trees = tuple(
        Tree(tuple(_histogram_node(node) for node in tree.nodes), target)
        for round_ in estimator._predictors  # noqa: SLF001 - nothing public has the trees
        for target, tree in enumerate(round_)
    )
    base = tuple(float(value) for value in np.ravel(estimator._baseline_prediction))  # noqa: SLF001
    loss = getattr(estimator, "loss", "")
    link = Link.EXP if loss in ("poisson", "gamma") else Link.IDENTITY
    if classifies:
        link = Link.SIGMOID if len(base) == 1 else Link.SOFTMAX
    return Ensemble(trees, estimator.n_features_in_, base, link, classifies=classifies)


def _histogram_node(node: Any) -> TreeNode:
    if node["is_leaf"]:
        return TreeNode(LEAF, values=(float(node["value"]),))
    return TreeNode(
        int(node["feature_idx"]), float(node["num_threshold"]), int(node["left"]), int(node["right"]),
        bool(node["missing_go_to_left"]),
    )  # fmt: skip


def _of_trees(model: Any, trees: Sequence[Any]) -> Ensemble:
    """Return the mean of trees, whose leaves have a value for each target, or a share for each class."""
    classifies = hasattr(model, "classes_")
    tables = tuple(Tree(_nodes(tree.tree_, _leaves(tree.tree_, classifies=classifies))) for tree in trees)
    targets = len(next(node.values for node in tables[0].nodes if node.feature == LEAF))
    return Ensemble(
        tables, int(model.n_features_in_), (0.0,) * targets, Link.IDENTITY, classifies=classifies,
        scale=1.0 / len(tables), single=True,
    )  # fmt: skip


def _of_boosting(model: Any) -> Ensemble | None:
    """Return gradient boosting; None where its first guess is a model of its own."""
    if model.init_ != "zero" and type(model.init_).__name__ not in ("DummyClassifier", "DummyRegressor"):
        return None
    columns = int(model.n_features_in_)
    first = np.ravel(model._raw_predict_init(np.zeros((1, columns), np.float32)))  # noqa: SLF001 - nothing public has it
    trees = tuple(
        Tree(_nodes(tree.tree_, model.learning_rate * tree.tree_.value[:, :, 0]), target)
        for round_ in model.estimators_
        for target, tree in enumerate(round_)
    )
    classifies = hasattr(model, "classes_")
    link = (Link.SIGMOID if len(first) == 1 else Link.SOFTMAX) if classifies else Link.IDENTITY
    slope = 2.0 if classifies and model.loss == "exponential" else 1.0
    return Ensemble(trees, columns, tuple(map(float, first)), link, classifies=classifies, scale=slope, single=True)


def _leaves(tree: Any, *, classifies: bool) -> npt.NDArray[np.float64]:
    """Return the values [nodes, targets] of a tree's nodes; of classes, the share of each."""
    if not classifies:
        return np.asarray(tree.value[:, :, 0], np.float64)
    counts = np.asarray(tree.value[:, 0, :], np.float64)
    sums = counts.sum(axis=1, keepdims=True)
    shares: npt.NDArray[np.float64] = np.divide(counts, sums, out=np.zeros_like(counts), where=sums > 0)
    return shares


def _nodes(tree: Any, values: npt.NDArray[np.float64]) -> tuple[TreeNode, ...]:
    missing = getattr(tree, "missing_go_to_left", np.zeros(len(values), np.uint8)).astype(bool).tolist()
    columns = (tree.feature, tree.threshold, tree.children_left, tree.children_right)
    return tuple(
        TreeNode(LEAF, values=tuple(leaf)) if left == -1 else TreeNode(feature, threshold, left, right, goes_left)
        for feature, threshold, left, right, goes_left, leaf in zip(
            *(column.tolist() for column in columns), missing, values.tolist(), strict=True
        )
    )
