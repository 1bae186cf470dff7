"""The ONNX graph of an estimator, with the outputs that it is served with. Imports skl2onnx.

skl2onnx writes the graph; what is nothing but trees is written here (`ensemble_graph`). In both, no output is a list of
maps (ZipMap): probabilities are a tensor, and a label is a place among the classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgemm.bundle.manifest import DType, TensorSpec
from edgemm.errors import ConversionError
from edgemm_converter.data.arrays import Array
from edgemm_converter.estimators import by_skl2onnx, ensemble_graph, tree_tables
from edgemm_converter.estimators.by_skl2onnx import OPSETS, ROWS
from edgemm_converter.estimators.estimator import INPUT, LABEL, SCORES, Estimator
from edgemm_converter.estimators.onnx_session import FileSession
from edgemm_converter.estimators.tree_tables import Ensemble
from edgemm_converter.table_columns import column_graph
from edgemm_converter.table_columns.graph_parts import Nodes

_TYPES = {
    DType.FLOAT32: TensorProto.FLOAT, DType.FLOAT64: TensorProto.DOUBLE, DType.INT64: TensorProto.INT64,
    DType.BOOL: TensorProto.BOOL, DType.STRING: TensorProto.STRING,
}  # fmt: skip
_SAME = "rows_as_they_are"


def model(estimator: Estimator, *, double: bool) -> Any:
    """Return an estimator as an ONNX model; with `double` it computes in double precision.

    Raises:
        ConversionError: something in it cannot be converted; names the class.
    """
    if estimator.is_bare and estimator.ensemble is not None:
        return _of_ensemble(estimator, estimator.ensemble, estimator.signature.inputs[0].shape[1])
    first, columns = _first(estimator, double=double)
    proto = _rest(estimator, columns, double=double)
    for one in proto.opset_import:
        one.version = max(one.version, first.opset) if one.domain in ("", "ai.onnx") else one.version
    graph = proto.graph
    found = _without_maps(graph)
    values = _values(proto, found, {ROWS: np.ones((2, columns), np.float64 if double else np.float32)})
    sides = (*estimator.signature.inputs, *estimator.signature.outputs)
    found = _set_aside(graph, found, {spec.name for spec in sides})
    rest = list(graph.node)
    del graph.node[:], graph.output[:]
    graph.node.extend([*first.made, *rest])
    graph.initializer.extend(first.constants)
    if estimator.ensemble is not None:
        graph.node.extend(_behind(estimator.ensemble, found[0], estimator, double=values[0].dtype == np.float64))
    else:
        if len(found) < len(estimator.signature.outputs):
            names = ", ".join(spec.name for spec in estimator.signature.outputs)
            raise ConversionError(
                f"{type(estimator.model).__name__}: the source answers with {names}, and what was converted with "
                f"{len(found)} outputs: edgemm cannot convert this kind of estimator"
            )
        for spec, name, value in zip(estimator.signature.outputs, found, values, strict=False):
            _add_output(graph, spec, name, value, estimator.classes)
    _describe_sides(graph, estimator)
    _import_domains(proto)
    _rename_inputs(graph, estimator)
    return proto


def _first(estimator: Estimator, *, double: bool) -> tuple[Nodes, int]:
    """Return the nodes that make `ROWS` of the inputs, and how many columns that has."""
    inputs = estimator.signature.inputs
    if estimator.columns is None:
        nodes = Nodes("float64" if double else "float32", by_skl2onnx.converted)
        nodes.add("Cast", inputs[0].name, into=ROWS, to=TensorProto.DOUBLE if double else TensorProto.FLOAT)
        return nodes, inputs[0].shape[1]
    nodes, table = column_graph.written(
        estimator.front, estimator.columns, inputs, others=by_skl2onnx.converted, double=double
    )
    nodes.add("Identity", table.name, into=ROWS)
    return nodes, table.width


def _rest(estimator: Estimator, columns: int, *, double: bool) -> Any:
    """Return what skl2onnx writes of an estimator; where that is nothing, a model that answers with the rows."""
    if estimator.rest is not None:
        raw = any(spec.name == SCORES for spec in estimator.signature.outputs) and estimator.classes is not None
        return by_skl2onnx.converted(estimator.rest, columns, double=double, raw_scores=raw)
    kind = TensorProto.DOUBLE if double else TensorProto.FLOAT
    sides = [helper.make_tensor_value_info(name, kind, ["batch", columns]) for name in (ROWS, _SAME)]
    graph = helper.make_graph([helper.make_node("Identity", [ROWS], [_SAME])], "model", sides[:1], sides[1:])
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _behind(table: Ensemble, rows: str, estimator: Estimator, *, double: bool) -> list[Any]:
    """Return the nodes of trees behind the steps that make their rows."""
    made: list[Any] = []
    names = [spec.name for spec in estimator.signature.outputs]
    width = estimator.signature.outputs[-1].shape[-1]
    if not table.classifies and width != table.targets:
        raise _other_width(names[0], width, table.targets)
    if estimator.zero_is_missing:
        rows = _with_missing(made, rows, np.float64 if double else np.float32)
    if double and table.single:
        made.append(helper.make_node("Cast", [rows], [f"{rows}_single"], to=TensorProto.FLOAT))
        rows, double = f"{rows}_single", False
    table = table if double else tree_tables.rounded(table)
    return made + ensemble_graph.nodes(table, rows, names, prefix="trees_", double=double)


def _with_missing(made: list[Any], rows: str, dtype: type) -> str:
    """Add the nodes that turn each 0 of some rows into a missing value; return the name of what they make."""
    for name, value in (("zero", 0.0), ("missing", np.nan)):
        told = numpy_helper.from_array(np.array(value, dtype))
        made.append(helper.make_node("Constant", [], [f"{rows}_{name}"], value=told))
    made += [
        helper.make_node("Equal", [rows, f"{rows}_zero"], [f"{rows}_absent"]),
        helper.make_node("Where", [f"{rows}_absent", f"{rows}_missing", rows], [f"{rows}_given"]),
    ]
    return f"{rows}_given"


def _other_width(name: str, width: int, found: int) -> ConversionError:
    return ConversionError(
        f"output {name!r}: the source answers with {width} values a row and what was converted with {found}: edgemm "
        "cannot convert this kind of estimator"
    )


def _of_ensemble(estimator: Estimator, table: Ensemble, columns: int) -> Any:
    names = [spec.name for spec in estimator.signature.outputs]
    nodes = ensemble_graph.nodes(tree_tables.rounded(table), INPUT, names)
    graph = helper.make_graph(
        nodes, "model", [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", columns])], []
    )
    _describe_sides(graph, estimator)
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _without_maps(graph: Any) -> list[str]:
    """Take out operations that make lists of maps of scores; return the names of the values that are answered."""
    maps = {node.output[0]: node for node in graph.node if node.op_type == "ZipMap"}
    for node in maps.values():
        graph.node.remove(node)
    return [maps[value.name].input[0] if value.name in maps else value.name for value in graph.output]


def _values(proto: Any, names: list[str], rows: Mapping[str, Array]) -> list[Array]:
    """Return what values of a graph are for some rows, to learn their shapes and types."""
    asked = onnx.ModelProto()
    asked.CopyFrom(proto)
    del asked.graph.output[:]
    asked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    found = FileSession(asked.SerializeToString()).run(rows, names)
    return [found[name] for name in names]


def _add_output(graph: Any, spec: TensorSpec, name: str, value: Array, classes: Any) -> None:
    """Have a graph answer with a value under the name, in the dtype and the shape that it is served with."""
    made: list[Any] = []

    def add(kind: str, *inputs: str, into: str = "", **attributes: Any) -> str:
        output = into or f"served_{spec.name}_{len(made)}"
        made.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(numbers: Any) -> str:
        return add("Constant", value=numpy_helper.from_array(np.asarray(numbers)))

    if spec.name == LABEL:
        name = _places(add, name, value, classes)
        shape = [-1]
    else:
        if value.dtype != np.float32:
            name = add("Cast", name, to=TensorProto.FLOAT)
        width = value.size // 2
        shape = [-1, spec.shape[1]]
        if spec.name == SCORES and classes is not None and len(classes) == 2:
            name = add("Reshape", name, constant(np.array([-1, width], np.int64)))
            name = add("Gather", name, constant(np.array([width - 1], np.int64)), axis=1)
            name = add("Concat", add("Neg", name), name, axis=1)
            width = 2
        if width != spec.shape[1]:
            raise _other_width(spec.name, spec.shape[1], width)
    add("Reshape", name, constant(np.array(shape, np.int64)), into=spec.name)
    graph.node.extend(made)


def _places(add: Any, name: str, value: Array, classes: Any) -> str:
    """Turn labels into places among the classes; those of clusters and outliers are numbers already."""
    if classes is None:
        return str(add("Cast", name, to=TensorProto.INT64))
    known = np.asarray(classes)
    places = list(range(len(known)))
    if value.dtype.kind in "OSU":
        return str(
            add(
                "LabelEncoder", name, domain=ensemble_graph.ML_DOMAIN, keys_strings=[str(one) for one in known],
                values_int64s=places, default_int64=-1,
            )
        )  # fmt: skip
    name = str(add("Cast", name, to=TensorProto.INT64))
    if known.dtype.kind not in "biuf":
        return name  # places already: `registration` writes them of names
    keys = [int(one) for one in known]
    if keys == places:
        return name
    return str(
        add(
            "LabelEncoder", name, domain=ensemble_graph.ML_DOMAIN, keys_int64s=keys, values_int64s=places,
            default_int64=-1,
        )
    )  # fmt: skip


def _set_aside(graph: Any, found: list[str], taken: set[str]) -> list[str]:
    """Give other names to values that have one of those that the served tensors get; return the names of `found`."""

    def other(name: str) -> str:
        return f"{name}_inside" if name in taken else name

    for node in graph.node:
        node.input[:] = [other(name) for name in node.input]
        node.output[:] = [other(name) for name in node.output]
    return [other(name) for name in found]


def _import_domains(proto: Any) -> None:
    """Import the versions of domains that the added operations are of; later ones hold the earlier."""
    known = {one.domain: one for one in proto.opset_import}
    one = known.get(ensemble_graph.ML_DOMAIN) or proto.opset_import.add(domain=ensemble_graph.ML_DOMAIN)
    one.version = max(one.version, OPSETS[ensemble_graph.ML_DOMAIN])
    used = {node.domain for node in proto.graph.node} - set(known) - {ensemble_graph.ML_DOMAIN, ""}
    for domain in sorted(used):
        proto.opset_import.add(domain=domain, version=1)


def _describe_sides(graph: Any, estimator: Estimator) -> None:
    """Give the inputs and outputs of a graph the names, types and shapes of the signature."""
    del graph.input[:], graph.output[:]
    graph.input.extend(_info(spec) for spec in estimator.signature.inputs)
    graph.output.extend(_info(spec) for spec in estimator.signature.outputs)


def input_names(estimator: Estimator) -> dict[str, str]:
    """Return what a file calls each input: a column may have the name of an output, which a graph has once."""
    taken = {spec.name for spec in (*estimator.signature.inputs, *estimator.signature.outputs)}
    outputs = {spec.name for spec in estimator.signature.outputs}
    found = {}
    for spec in estimator.signature.inputs:
        name = spec.name
        while name in outputs or (name != spec.name and name in taken):
            name = f"column_{name}"
        found[spec.name] = name
    return found


def _rename_inputs(graph: Any, estimator: Estimator) -> None:
    """Give inputs the names of `input_names`; nothing but the first nodes, which reshape columns, takes them."""
    names = {old: new for old, new in input_names(estimator).items() if old != new}
    for value in graph.input:
        value.name = names.get(value.name, value.name)
    for node in graph.node[: len(estimator.signature.inputs)] if names else ():
        node.input[:] = [names.get(name, name) for name in node.input]


def _info(spec: TensorSpec) -> Any:
    shape = ["batch" if d == -1 else d for d in spec.shape]
    return helper.make_tensor_value_info(spec.name, _TYPES[spec.dtype], shape)
