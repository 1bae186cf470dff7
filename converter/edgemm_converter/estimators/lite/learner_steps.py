"""The operations of ai.onnx.ml in TFLite, for a batch of one row: linear models, trees, scalers, labels. Pure.

Of what ONNX Runtime does with a model of classes, the usual form is here: one score for each class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgemm_converter.estimators.lite import tree_walk
from edgemm_converter.estimators.lite.flat_graph import FlatGraph, Value
from edgemm_converter.estimators.lite.onnx_steps import (
    Given,
    Handler,
    Step,
    Texts,
    best,
    cast,
    chosen,
    dense,
    gather,
    gathered,
    number,
    reduced,
    two,
)


def _scaler(graph: FlatGraph, step: Step, given: Given) -> Value:
    value = given[0]
    offset, scale = (np.array(step.get(name, ()), np.float32) for name in ("offset", "scale"))
    if offset.size:
        value = two(graph, "SUB", value, graph.constant(offset))
    return two(graph, "MUL", value, graph.constant(scale)) if scale.size else value


def _imputer(graph: FlatGraph, step: Step, given: Given) -> Value:
    value, replaced = given[0], step.get("replaced_value_float", 0.0)
    other = value if np.isnan(replaced) else number(graph, replaced)
    missing = two(graph, "NOT_EQUAL" if np.isnan(replaced) else "EQUAL", value, other, dtype=bool)
    imputed = np.broadcast_to(np.array(step.get("imputed_value_floats", ()), np.float32), value.shape)
    return chosen(graph, missing, graph.constant(imputed), value)


def _normalizer(graph: FlatGraph, step: Step, given: Given) -> Value:
    value, norm = given[0], step.get("norm", b"MAX")
    if norm == b"MAX":
        raise step.refused("by the largest value")
    parts = graph.add("ABS", [value]) if norm == b"L1" else two(graph, "MUL", value, value)
    size = reduced(graph, "SUM", parts, [-1])
    size = size if norm == b"L1" else graph.add("SQRT", [size])
    least = number(graph, float(np.finfo(np.float32).tiny))  # of a row of zeros stay zeros
    return two(graph, "DIV", value, two(graph, "MAXIMUM", size, least))


def _linear_regressor(graph: FlatGraph, step: Step, given: Given) -> Value:
    if step.get("post_transform", b"NONE") != b"NONE":
        raise step.refused(f"with {step.get('post_transform').decode()}")
    weights = np.array(step.get("coefficients"), np.float32).reshape(step.get("targets", 1), -1)
    bias = np.array(step.get("intercepts", [0.0] * len(weights)), np.float32)
    return dense(graph, given[0], weights.T, bias)


def _linear_classifier(graph: FlatGraph, step: Step, given: Given) -> tuple[Any, Value]:
    bias = np.array(step.get("intercepts"), np.float32)
    weights = np.array(step.get("coefficients"), np.float32).reshape(len(bias), -1)
    scores = dense(graph, given[0], weights.T, bias)
    return _labelled(graph, step, scores)


def _labelled(graph: FlatGraph, step: Step, scores: Value) -> tuple[Any, Value]:
    """Return the class of the best score [1], and the scores as the step answers with them.

    Raises:
        NoBuiltinsError: there is not one score for each class, or an unknown link after them.
    """
    texts = step.get("classlabels_strings")
    classes = texts or step.get("classlabels_ints") or step.get("classlabels_int64s")
    links = {b"NONE": "", b"LOGISTIC": "LOGISTIC", b"SOFTMAX": "SOFTMAX"}
    link = step.get("post_transform", b"NONE")
    if scores.shape[-1] != len(classes) or link not in links:
        raise step.refused(f"of {scores.shape[-1]} scores for {len(classes)} classes, with {link.decode()},")
    place = best(graph, scores)
    if texts:
        label: Any = Texts(tuple(text.decode() for text in texts), place)
    elif list(classes) == list(range(len(classes))):
        label = place
    else:
        label = gathered(graph, graph.constant(np.array(classes, np.int64)), place, 0)
    return label, graph.add(links[link], [scores]) if links[link] else scores


def _features(graph: FlatGraph, step: Step, given: Given) -> Any:
    axis = len(given[0].places.shape if isinstance(given[0], Texts) else given[0].shape) - 1
    places = graph.shaped(given[1], (int(np.prod(given[1].shape)),))
    return gather(graph, Step(step.kind, {"axis": axis}, step.shapes, step.dtypes), [given[0], places])


def _label_encoder(graph: FlatGraph, step: Step, given: Given) -> Value:
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


def _trees(graph: FlatGraph, step: Step, row: Value, *, leaves: str, targets: int) -> Value:
    if row.dtype != "float32":
        raise step.refused(f"of {row.dtype}")
    if any(name.endswith("_as_tensor") for name in step.attributes):
        raise step.refused("in double precision")
    if step.get("aggregate_function", b"SUM") != b"SUM":
        raise step.refused(f"with {step.get('aggregate_function').decode()}")
    tables = tree_walk.read(step.attributes, leaves=leaves, targets=targets)
    found, base = tree_walk.add(graph, tables, row), np.array(step.get("base_values", ()), np.float32)
    return two(graph, "ADD", found, graph.constant(base[np.newaxis])) if base.any() else found


def _tree_regressor(graph: FlatGraph, step: Step, given: Given) -> Value:
    if step.get("post_transform", b"NONE") != b"NONE":
        raise step.refused(f"with {step.get('post_transform').decode()}")
    return _trees(graph, step, given[0], leaves="target", targets=step.get("n_targets", 1))


def _tree_classifier(graph: FlatGraph, step: Step, given: Given) -> tuple[Any, Value]:
    classes = step.get("classlabels_strings") or step.get("classlabels_int64s")
    if len(set(step.get("class_ids"))) == 1 and len(classes) == 2:
        raise step.refused("with a score of one of two classes")
    return _labelled(graph, step, _trees(graph, step, given[0], leaves="class", targets=len(classes)))


HANDLERS: Mapping[str, Handler] = {
    "Scaler": _scaler,
    "Imputer": _imputer,
    "Normalizer": _normalizer,
    "LinearRegressor": _linear_regressor,
    "LinearClassifier": _linear_classifier,
    "ArrayFeatureExtractor": _features,
    "LabelEncoder": _label_encoder,
    "TreeEnsembleRegressor": _tree_regressor,
    "TreeEnsembleClassifier": _tree_classifier,
}
"""By the operation of the domain ai.onnx.ml."""
