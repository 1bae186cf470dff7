"""The operations of ai.onnx.ml in TFLite, for a batch of one row: linear models, trees, scalers, labels. Pure.

Of what ONNX Runtime does with a model of classes, the usual form is here: one score for each class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgemm_converter.estimators.lite import tree_walk
from edgemm_converter.estimators.lite.composites import best, cast, chosen, dense, gathered, normalized, number, two
from edgemm_converter.estimators.lite.flat_graph import FlatGraph, Value
from edgemm_converter.estimators.lite.moving_steps import gather
from edgemm_converter.estimators.lite.step import Given, GraphStep, Handler, Texts


def _scaler(graph: FlatGraph, step: GraphStep, given: Given) -> Value:
    value = given[0]
    offset, scale = (np.array(step.get(name, ()), np.float32) for name in ("offset", "scale"))
    if offset.size:
        value = two(graph, "SUB", value, graph.constant(offset))
    return two(graph, "MUL", value, graph.constant(scale)) if scale.size else value


def _imputer(graph: FlatGraph, step: GraphStep, given: Given) -> Value:
    value, replaced = given[0], step.get("replaced_value_float", 0.0)
    other = value if np.isnan(replaced) else number(graph, replaced)
    missing = two(graph, "NOT_EQUAL" if np.isnan(replaced) else "EQUAL", value, other, dtype=bool)
    imputed = np.broadcast_to(np.array(step.get("imputed_value_floats", ()), np.float32), value.shape)
    return chosen(graph, missing, graph.constant(imputed), value)


def _normalizer(graph: FlatGraph, step: GraphStep, given: Given) -> Value:
    norm = step.get("norm", b"MAX")
    if norm == b"MAX":
        raise step.refused("by the largest value")
    return normalized(graph, given[0], -1, norm=norm.decode())


def _binarizer(graph: FlatGraph, step: GraphStep, given: Given) -> Value:
    threshold = number(graph, step.get("threshold", 0.0))
    return cast(graph, two(graph, "GREATER", given[0], threshold, dtype=bool), "float32")


def _linear_regressor(graph: FlatGraph, step: GraphStep, given: Given) -> Value:
    if step.get("post_transform", b"NONE") != b"NONE":
        raise step.refused(f"with {step.get('post_transform').decode()}")
    weights = np.array(step.get("coefficients"), np.float32).reshape(step.get("targets", 1), -1)
    bias = np.array(step.get("intercepts", [0.0] * len(weights)), np.float32)
    return dense(graph, given[0], weights.T, bias)


def _linear_classifier(graph: FlatGraph, step: GraphStep, given: Given) -> tuple[Any, Value]:
    bias = np.array(step.get("intercepts"), np.float32)
    weights = np.array(step.get("coefficients"), np.float32).reshape(len(bias), -1)
    scores = dense(graph, given[0], weights.T, bias)
    return _labelled(graph, step, scores)


def _labelled(graph: FlatGraph, step: GraphStep, scores: Value) -> tuple[Any, Value]:
    """Return the class of the best score [1], and the scores as the step answers with them.

    Raises:
        NoBuiltinsError: there is not one score for each class, or an unknown link after them.
    """
    links = {b"NONE": "", b"LOGISTIC": "LOGISTIC", b"SOFTMAX": "SOFTMAX"}
    link, classes = step.get("post_transform", b"NONE"), classes_of(step)
    if scores.shape[-1] != len(classes) or link not in links:
        raise step.refused(f"of {scores.shape[-1]} scores for {len(classes)} classes, with {link.decode()},")
    label = class_at(graph, classes, best(graph, scores))
    return label, graph.add(links[link], [scores]) if links[link] else scores


def classes_of(step: GraphStep) -> list[Any]:
    """Return the classes of a step, texts as bytes or whole numbers."""
    return list(step.get("classlabels_strings") or step.get("classlabels_ints") or step.get("classlabels_int64s"))


def class_at(graph: FlatGraph, classes: list[Any], place: Value) -> Any:
    """Return the class at a place [1], a text or a number."""
    if isinstance(classes[0], bytes):
        return Texts(tuple(text.decode() for text in classes), place)
    if classes == list(range(len(classes))):
        return place
    return gathered(graph, graph.constant(np.array(classes, np.int64)), place, 0)


def _features(graph: FlatGraph, step: GraphStep, given: Given) -> Any:
    axis = len(given[0].places.shape if isinstance(given[0], Texts) else given[0].shape) - 1
    places = graph.shaped(given[1], (int(np.prod(given[1].shape)),))
    return gather(graph, GraphStep(step.kind, {"axis": axis}, step.shapes, step.dtypes), [given[0], places])


def _label_encoder(graph: FlatGraph, step: GraphStep, given: Given) -> Value:
    """Return the value of each key, or the default: found by comparison, or by the place of a text."""
    value = given[0]
    kinds = {"values_int64s": np.int64, "values_floats": np.float32}
    name = next((name for name in kinds if step.get(name) is not None), None)
    if name is None:
        raise step.refused("with texts as values")
    default = step.get("default_int64", -1) if name == "values_int64s" else step.get("default_float", -0.0)
    values = list(step.get(name))
    if isinstance(value, Texts):
        known = dict(zip((key.decode() for key in step.get("keys_strings", ())), values, strict=True))
        of_texts = graph.constant(np.array([known.get(text, default) for text in value.table], kinds[name]))
        return gathered(graph, of_texts, value.places, 0)
    keys = step.get("keys_int64s") or step.get("keys_floats")
    if keys is None:
        raise step.refused("with texts as keys")
    if int(np.prod(value.shape)) != 1:
        raise step.refused(f"of {int(np.prod(value.shape))} values")
    row = graph.shaped(value, (1, 1))
    same = two(graph, "EQUAL", row, graph.constant(np.array([keys], value.dtype)), dtype=bool)
    half = graph.constant(np.array([[0.5]], np.float32))
    found = graph.add("CONCATENATION", [cast(graph, same, "float32"), half], shape=(1, len(keys) + 1), axis=1)
    table = graph.constant(np.array([*values, default], kinds[name]))
    return gathered(graph, table, best(graph, found), 0)


def _trees(graph: FlatGraph, step: GraphStep, row: Value, *, leaves: str, targets: int) -> Value:
    if row.dtype != "float32":
        raise step.refused(f"of {row.dtype}")
    if any(name.endswith("_as_tensor") for name in step.attributes):
        raise step.refused("in double precision")
    if step.get("aggregate_function", b"SUM") != b"SUM":
        raise step.refused(f"with {step.get('aggregate_function').decode()}")
    tables = tree_walk.read(step.attributes, leaves=leaves, targets=targets)
    found, base = tree_walk.add(graph, tables, row), np.array(step.get("base_values", ()), np.float32)
    return two(graph, "ADD", found, graph.constant(base[np.newaxis])) if base.any() else found


def _tree_regressor(graph: FlatGraph, step: GraphStep, given: Given) -> Value:
    if step.get("post_transform", b"NONE") != b"NONE":
        raise step.refused(f"with {step.get('post_transform').decode()}")
    return _trees(graph, step, given[0], leaves="target", targets=step.get("n_targets", 1))


def _tree_classifier(graph: FlatGraph, step: GraphStep, given: Given) -> tuple[Any, Value]:
    classes = classes_of(step)
    if len(set(step.get("class_ids"))) > 1 or len(classes) != 2:
        return _labelled(graph, step, _trees(graph, step, given[0], leaves="class", targets=len(classes)))
    if step.get("post_transform", b"NONE") != b"NONE" or step.get("base_values") or any(step.get("class_ids")):
        raise step.refused("with a score of one of two classes and a link")
    # One score for two classes: a probability of the second, or where there are negative ones a decision for it.
    only = _trees(graph, step, given[0], leaves="class", targets=1)
    is_share = min(step.get("class_weights")) >= 0
    above = two(graph, "GREATER", only, number(graph, 0.5 if is_share else 0.0), dtype=bool)
    other = two(graph, "SUB", number(graph, 1.0), only) if is_share else graph.add("NEG", [only])
    scores = graph.add("CONCATENATION", [other, only], shape=(1, 2), axis=1)
    return class_at(graph, classes, graph.shaped(cast(graph, above, "int64"), (1,))), scores


HANDLERS: Mapping[str, Handler] = {
    "Scaler": _scaler,
    "Imputer": _imputer,
    "Binarizer": _binarizer,
    "Normalizer": _normalizer,
    "LinearRegressor": _linear_regressor,
    "LinearClassifier": _linear_classifier,
    "ArrayFeatureExtractor": _features,
    "LabelEncoder": _label_encoder,
    "TreeEnsembleRegressor": _tree_regressor,
    "TreeEnsembleClassifier": _tree_classifier,
}
"""By the operation of the domain ai.onnx.ml."""
