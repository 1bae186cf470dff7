"""An ensemble of trees as nodes of ONNX: one TreeEnsembleRegressor for the margins, and the link after it.

The nodes are plain operations of opset 17 and ai.onnx.ml 3. Thresholds have to be numbers of float32 already:
`tree_tables.rounded`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgemm_converter.estimators.tree_tables import LEAF, Ensemble, Link, Tree, TreeNode

ML_DOMAIN = "ai.onnx.ml"
_PLAIN = {Link.SIGMOID: "Sigmoid", Link.EXP: "Exp", Link.LOG1P_EXP: "Softplus"}


def nodes(
    ensemble: Ensemble, rows: str, outputs: Sequence[str], *, prefix: str = "", double: bool = False
) -> list[Any]:
    """Return the nodes that compute an ensemble of the rows [batch, features], a tensor of float32 or of `double`s.

    `outputs` are the names of label [batch] and probabilities [batch, classes] where it classifies, else of the values
    [batch, targets].
    """
    made: list[Any] = []

    def add(kind: str, *inputs: str, into: str = "", **attributes: Any) -> str:
        name = into or f"{prefix}{kind.lower()}_{len(made)}"
        made.append(helper.make_node(kind, list(inputs), [name], name=f"{prefix}node_{len(made)}", **attributes))
        return name

    def constant(value: Any) -> str:
        return add("Constant", value=numpy_helper.from_array(np.asarray(value)))

    margins = add("TreeEnsembleRegressor", rows, domain=ML_DOMAIN, **_trees(ensemble, double=double))
    if ensemble.scale != 1.0:
        margins = add("Mul", margins, constant(np.float32(ensemble.scale)))
    if not ensemble.classifies:
        _link(ensemble.link, margins, outputs[0], add, constant)
        return made
    label, probabilities = outputs
    if ensemble.link in (Link.SOFTMAX, Link.IDENTITY):
        _link(ensemble.link, margins, probabilities, add, constant)
    elif ensemble.targets > 1:
        add("Sigmoid", margins, into=probabilities)
    else:
        one = add("Sigmoid", margins)
        add("Concat", add("Sigmoid", add("Neg", margins)), one, into=probabilities, axis=1)
    add("ArgMax", probabilities, into=label, axis=1, keepdims=0)
    return made


def _link(link: Link, margins: str, output: str, add: Any, constant: Any) -> None:
    if link is Link.IDENTITY:
        add("Identity", margins, into=output)
    elif link is Link.SOFTMAX:
        add("Softmax", margins, into=output, axis=1)
    elif link is Link.SIGNED_SQUARE:
        add("Mul", margins, add("Abs", margins), into=output)
    elif link is Link.SIGN:
        add("Cast", add("Greater", margins, constant(np.float32(0))), into=output, to=onnx.TensorProto.FLOAT)
    else:
        add(_PLAIN[link], margins, into=output)


def _trees(ensemble: Ensemble, *, double: bool) -> dict[str, Any]:
    """Return the attributes of the operation: each a list over all nodes, or over all leaves, of all trees."""
    trees = ensemble.trees or (Tree((TreeNode(LEAF, values=(0.0,)),)),)
    mode = "BRANCH_LT" if ensemble.strict else "BRANCH_LEQ"
    of_nodes = [(number, place, node) for number, tree in enumerate(trees) for place, node in enumerate(tree.nodes)]
    leaves = [
        (number, place, trees[number].target + target, value)
        for number, place, node in of_nodes
        for target, value in enumerate(node.values)
    ]
    numbers = {
        "base_values": list(ensemble.base),
        "nodes_values": [node.threshold for _, _, node in of_nodes],
        "target_weights": [value for *_, value in leaves],
    }
    told = {f"{name}_as_tensor": _doubles(name, values) for name, values in numbers.items()} if double else numbers
    return {
        **told,
        "n_targets": ensemble.targets,
        "nodes_treeids": [number for number, _, _ in of_nodes],
        "nodes_nodeids": [place for _, place, _ in of_nodes],
        "nodes_featureids": [max(node.feature, 0) for _, _, node in of_nodes],
        "nodes_modes": ["LEAF" if node.feature == LEAF else mode for _, _, node in of_nodes],
        "nodes_truenodeids": [node.left for _, _, node in of_nodes],
        "nodes_falsenodeids": [node.right for _, _, node in of_nodes],
        "nodes_missing_value_tracks_true": [int(node.missing_left) for _, _, node in of_nodes],
        "nodes_hitrates": [1.0] * len(of_nodes),
        "target_treeids": [number for number, *_ in leaves],
        "target_nodeids": [place for _, place, *_ in leaves],
        "target_ids": [target for *_, target, _ in leaves],
        "post_transform": "NONE",
    }


def _doubles(name: str, values: Sequence[float]) -> Any:
    return helper.make_tensor(name, onnx.TensorProto.DOUBLE, [len(values)], list(values))
