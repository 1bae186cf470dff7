"""The canonical form of an ONNX graph: order and internal names follow from the graph's structure alone.

tf2onnx orders and names nodes and constants by counters and by sets of objects, whose order changes from process to
process. Here nodes are ordered by a walk back from the outputs, and named by operation and by position in that order.
Inputs and outputs keep their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx

from edgemm.bundle.manifest import DType, Signature, VariantTensor


@dataclass
class _Names:
    """Gives new names, none twice and none of `taken`."""

    taken: frozenset[str]
    counts: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)
    """The new name of each node → the one that it had."""

    def fresh(self, kind: str) -> str:
        """Return the next name of a kind."""
        while True:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            name = f"{kind}_{self.counts[kind]}"
            if name not in self.taken:
                return name


def canonicalize(proto: Any) -> dict[str, str]:
    """Rewrite a model in place; what it computes, and the names of its inputs and outputs, stay.

    Returns the old name of each node by its new one.
    """
    kept = frozenset(value.name for value in (*proto.graph.input, *proto.graph.output))
    proto.doc_string = ""
    names = _Names(kept)
    _graph(proto.graph, {name: name for name in kept}, names)
    proto.graph.name = "model"
    return names.nodes


def file_tensors(
    signature: Signature, input_ids: Mapping[str, str], output_ids: Mapping[str, str]
) -> tuple[tuple[VariantTensor, ...], tuple[VariantTensor, ...]]:
    """Return a file's own inputs and outputs: ONNX keeps the names, dtypes and shapes of the source."""
    inputs, outputs = (
        tuple(VariantTensor(name=s.name, tensor=names[s.name], dtype=DType(s.dtype), shape=s.shape) for s in specs)
        for specs, names in ((signature.inputs, input_ids), (signature.outputs, output_ids))
    )
    return inputs, outputs


def _graph(graph: Any, outer: dict[str, str], names: _Names) -> None:
    """Rewrite one graph; `outer` maps the old names that are visible in it to new ones."""
    known = dict(outer)
    for value in graph.input:
        known[value.name] = outer.get(value.name) or names.fresh("input")
    nodes, constants = _ordered(graph)
    for constant in constants:
        known[constant.name] = outer.get(constant.name) or names.fresh("constant")
        constant.name = known[constant.name]
    for node in nodes:
        for name in filter(None, node.output):
            known[name] = outer.get(name) or names.fresh(node.op_type)
    for node in nodes:
        _rename(node, known, names)
    for value in (*graph.input, *graph.output):
        value.name = known[value.name]
    _replace(graph.node, nodes)
    _replace(graph.initializer, constants)
    del graph.value_info[:]
    graph.doc_string, graph.name = "", "body"


def _rename(node: Any, known: dict[str, str], names: _Names) -> None:
    for subgraph in _subgraphs(node):
        _graph(subgraph, known, names)
    node.input[:] = [known[name] if name else "" for name in node.input]
    node.output[:] = [known[name] if name else "" for name in node.output]
    before, node.name = node.name, names.fresh("node")
    names.nodes[node.name] = before
    node.doc_string = ""
    _replace(node.attribute, sorted(node.attribute, key=lambda attribute: str(attribute.name)))


def _ordered(graph: Any) -> tuple[list[Any], list[Any]]:
    """Return the nodes and constants that the outputs need, each after what it needs itself."""
    producers = {name: node for node in graph.node for name in node.output if name}
    initializers = {constant.name: constant for constant in graph.initializer}
    nodes: list[Any] = []
    constants: list[Any] = []
    seen: set[str] = set()
    stack: list[tuple[Any, Iterator[str]]] = [(None, iter([value.name for value in graph.output]))]
    while stack:  # no recursion: a graph is deeper than Python's stack
        node, needs = stack[-1]
        name = next((n for n in needs if n not in seen), None)
        if name is None:
            stack.pop()
            if node is not None:
                nodes.append(node)
        elif name in producers:
            seen.update(producers[name].output)
            stack.append((producers[name], iter(_needs(producers[name]))))
        else:
            seen.add(name)
            if name in initializers:
                constants.append(initializers[name])
    return nodes, constants


def _needs(node: Any) -> list[str]:
    """Return the names that a node reads, those that its subgraphs take from outside included."""
    return [name for name in node.input if name] + [n for graph in _subgraphs(node) for n in _free(graph)]


def _free(graph: Any) -> list[str]:
    own = {value.name for value in graph.input} | {constant.name for constant in graph.initializer}
    own |= {name for node in graph.node for name in node.output}
    read = [name for node in graph.node for name in _needs(node)] + [value.name for value in graph.output]
    return [name for name in dict.fromkeys(read) if name not in own]


def _subgraphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g


def _replace(repeated: Any, values: Iterable[Any]) -> None:
    copies = []
    for value in values:
        copy = type(value)()
        copy.CopyFrom(value)
        copies.append(copy)
    del repeated[:]
    repeated.extend(copies)
