"""The conversion of ensembles that are steps of pipelines, for skl2onnx: its own of some of them fail or answer wrong.

A step that classifies answers with the class where classes are integers, else with its place. Imports skl2onnx.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import update_registered_converter
from skl2onnx.common import tree_ensemble
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType
from skl2onnx.shape_calculators.one_hot_encoder import calculate_sklearn_one_hot_encoder_output_shapes
from skl2onnx.shape_calculators.scaler import calculate_sklearn_scaler_output_shapes
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, OneHotEncoder, RobustScaler, StandardScaler

from edgemm.errors import ConversionError
from edgemm_converter.estimators import ensemble_graph, ensembles, linear_sgd, one_hot, scalers, tree_tables
from edgemm_converter.estimators.tree_tables import Ensemble

_OPTIONS = {"zipmap": [True, False, "columns"], "nocl": [True, False], "output_class_labels": [False, True]}
_NAMES = ("XGBClassifier", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor", "XGBRanker", "LGBMClassifier",
          "LGBMRegressor", "LGBMRanker")  # fmt: skip


def register() -> None:
    """Tell skl2onnx of the conversions, of the libraries that are loaded."""
    if tree_ensemble.sklearn_threshold is not _threshold:
        tree_ensemble.sklearn_threshold = _threshold
        for name, module in list(sys.modules.items()):
            if name.startswith("skl2onnx.operator_converters") and hasattr(module, _ADD_TREE):
                setattr(module, _ADD_TREE, _add_tree)
    update_registered_converter(
        OneHotEncoder, "EdgemmOneHotEncoder", calculate_sklearn_one_hot_encoder_output_shapes, one_hot.convert,
        overwrite=True,
    )  # fmt: skip
    for scaler in (MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler):
        update_registered_converter(
            scaler, f"Edgemm{scaler.__name__}", calculate_sklearn_scaler_output_shapes, scalers.convert, overwrite=True
        )
    update_registered_converter(
        SGDClassifier, "EdgemmSGDClassifier", linear_sgd.shapes, linear_sgd.convert, overwrite=True,
        options=_OPTIONS | {"raw_scores": [True, False]},
    )  # fmt: skip
    for kind in _kinds():
        update_registered_converter(
            kind, f"Edgemm{kind.__name__}", _shapes, _convert, overwrite=True,
            options=_OPTIONS if kind.__name__.endswith("Classifier") else None,
        )  # fmt: skip


_theirs, _their_tree = tree_ensemble.sklearn_threshold, tree_ensemble.add_tree_to_attribute_pairs
_ADD_TREE = "add_tree_to_attribute_pairs"


def _add_tree(pairs: dict[str, list[int]], is_classifier: bool, tree: Any, *more: Any, **named: Any) -> None:  # noqa: FBT001
    """Add a tree of scikit-learn as skl2onnx does, and where its missing values go, which is left out there."""
    _their_tree(pairs, is_classifier, tree, *more, **named)
    goes_left = getattr(tree, "missing_go_to_left", None)
    if goes_left is not None and len(goes_left):
        pairs["nodes_missing_value_tracks_true"][-tree.node_count :] = [int(left) for left in goes_left]


def _threshold(threshold: Any, dtype: Any, mode: str) -> Any:
    """Return the threshold of a tree as skl2onnx does; an infinite one, with which it is never done, as it is."""
    return _theirs(threshold, dtype, mode) if np.isfinite(threshold) else threshold


def _kinds() -> Iterator[type]:
    yield from (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
    yield from (RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor)
    for library in ("xgboost", "lightgbm"):
        module = sys.modules.get(library)
        yield from (getattr(module, name) for name in _NAMES if hasattr(module, name))


def _ensemble(model: Any) -> Ensemble:
    found = ensembles.of(model)
    if found is None:
        raise ConversionError(f"{type(model).__name__} is no ensemble of trees that edgemm reads")
    return found


def _shapes(operator: Any) -> None:
    rows, found = operator.inputs[0].get_first_dimension(), _ensemble(operator.raw_operator)
    if found.classifies:
        operator.outputs[0].type = Int64TensorType([rows])
        operator.outputs[1].type = FloatTensorType([rows, max(2, found.targets)])
    else:
        operator.outputs[0].type = FloatTensorType([rows, found.targets])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    model, given = operator.raw_operator, operator.inputs[0]
    double = isinstance(given.type, DoubleTensorType)
    found, rows = _ensemble(model), given.full_name
    outputs = [output.full_name for output in operator.outputs]
    prefix = scope.get_unique_variable_name("ensemble")
    names = [f"{prefix}_place", outputs[1]] if found.classifies else outputs[:1]
    made: list[Any] = []
    if double and found.single:
        rows, double = f"{prefix}_rows", False
        made.append(helper.make_node("Cast", [given.full_name], [rows], to=TensorProto.FLOAT))
    table = found if double else tree_tables.rounded(found)
    made += ensemble_graph.nodes(table, rows, names, prefix=f"{prefix}_", double=double)
    if found.classifies:
        classes = np.asarray(model.classes_)
        known = classes if classes.dtype.kind in "biuf" else np.arange(len(classes))
        value = numpy_helper.from_array(known.astype(np.int64))
        made += [
            helper.make_node("Constant", [], [f"{prefix}_classes"], value=value),
            helper.make_node("Gather", [f"{prefix}_classes", names[0]], outputs[:1], axis=0),
        ]
    for node in made:
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        container.add_node(
            node.op_type, list(node.input), list(node.output), op_domain=node.domain,
            name=scope.get_unique_operator_name(node.op_type), **attributes,
        )  # fmt: skip


def prepare(model: Any) -> None:
    """Change what skl2onnx refuses and what has no part in the answers: how votes would be laid out by `transform`."""
    parts = model.get_params(deep=True).values() if hasattr(model, "get_params") else ()
    for part in (model, *parts):
        if type(part).__name__ == "VotingClassifier":
            part.set_params(flatten_transform=False)
