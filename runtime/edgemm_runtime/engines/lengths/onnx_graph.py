"""The graph of an ONNX file: its operations and the names of their tensors, without its weights. Pure.

The file is a message of protobuf, which is read field by field here: the `onnx` package is not on devices. Numbers of
fields are those of `onnx.proto3`.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgemm_runtime.engines.lengths.value_lengths import Graph, GraphNode

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT = 1, 5, 11
_NODE_INPUT, _NODE_OUTPUT, _NODE_KIND, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 6, 11
_FUNCTION_INPUT, _FUNCTION_NODE = 4, 7
_VALUE_NAME, _TENSOR_NAME = 1, 8
_DEEPEST = 32


def read_graph(model: bytes) -> Graph:
    """Return the graph; functions of the file are steps with a body.

    Raises:
        ValueError: it is no ONNX file.
    """
    data, found, functions = memoryview(model), Graph((), ()), []
    for field, value in _fields(data):
        if field == _MODEL_GRAPH:
            found = _graph(value, 0)
        elif field == _MODEL_FUNCTIONS:
            functions.append(_function(value))
    # Where each is called does not matter: its inputs are taken for values.
    return Graph(found.inputs, (*(GraphNode("", (), (), (body,)) for body in functions), *found.steps))


def _graph(data: memoryview, depth: int) -> Graph:
    inputs, steps, weights = [], [], set()
    for field, value in _fields(data):
        if field == _GRAPH_NODE:
            steps.append(_step(value, depth))
        elif field == _GRAPH_INPUT:
            inputs.append(_named(value, _VALUE_NAME))
        elif field == _GRAPH_INITIALIZER:
            weights.add(_named(value, _TENSOR_NAME))
    return Graph(tuple(name for name in inputs if name not in weights), tuple(steps))


def _function(data: memoryview) -> Graph:
    fields = list(_fields(data))
    inputs = tuple(_text(value) for field, value in fields if field == _FUNCTION_INPUT)
    return Graph(inputs, tuple(_step(value, 0) for field, value in fields if field == _FUNCTION_NODE))


def _step(data: memoryview, depth: int) -> GraphNode:
    if depth > _DEEPEST:
        raise ValueError("graphs within graphs without end")
    kind, inputs, outputs, bodies = "", [], [], []
    for field, value in _fields(data):
        if field == _NODE_INPUT:
            inputs.append(_text(value))
        elif field == _NODE_OUTPUT:
            outputs.append(_text(value))
        elif field == _NODE_KIND:
            kind = _text(value)
        elif field == _NODE_ATTRIBUTE:
            bodies += [_graph(g, depth + 1) for at, g in _fields(value) if at in {_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS}]
    return GraphNode(kind, tuple(inputs), tuple(outputs), tuple(bodies))


def _named(data: memoryview, number: int) -> str:
    return next((_text(value) for field, value in _fields(data) if field == number), "")


def _text(data: memoryview) -> str:
    return bytes(data).decode("utf-8", "replace")


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the number of each field of bytes, with them; fields of numbers are passed over."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _BYTES:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise ValueError("the file ends early")
            yield key >> 3, data[at : at + size]
            at += size
        elif kind == _VARINT:
            _, at = _varint(data, at)
        elif kind in {_FIXED32, _FIXED64}:
            at += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError("not a protobuf message")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    found = shift = 0
    while shift < 70:
        if at >= len(data):
            raise ValueError("the file ends early")
        byte = data[at]
        found |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return found, at
    raise ValueError("not a protobuf message")
