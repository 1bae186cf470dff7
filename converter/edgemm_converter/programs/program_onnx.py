"""The ONNX graph of an exported program, by `torch.onnx`, with the signature's tensors. Imports PyTorch."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import torch

from edgemm import library_errors
from edgemm.errors import ConversionError
from edgemm_converter.programs.program import Program

OPSET = 18
"""What torch.onnx writes by itself: asked for another, it rewrites the graph, and fails at some."""

_FAILURES = (AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError)
_MAX_FILE_BYTES = 2**31 - 1
_STANDARD = ("", "ai.onnx")


def of(source: Program) -> Any:
    """Return the graph as onnx holds it, with nothing in it but what it computes.

    Raises:
        ConversionError: it has none.
    """
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            made = torch.onnx.export(
                source.exported, (), dynamo=True, opset_version=OPSET, external_data=False, verbose=False
            )
        proto = made.model_proto
    except (*_FAILURES, torch.onnx.errors.OnnxExporterError) as err:
        raise _refusal(_missing(err) or library_errors.plain(err)) from err
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    if proto.ByteSize() > _MAX_FILE_BYTES:
        raise _refusal("the file is over 2 GB")
    foreign = sorted({node.op_type for node in _nodes(proto.graph) if node.domain not in _STANDARD})
    if foreign:
        raise _refusal(f"no ONNX operation for {', '.join(foreign)}")
    _strip(proto)
    _name_tensors(proto, source)
    return proto


def _missing(err: BaseException) -> str:
    """Return which operator has no translation, where that is why."""
    for one in library_errors.chain(err):
        if "DispatchError" in type(one).__name__:
            known = [part for part in str(one).replace("'", " ").split() if part.startswith(("aten.", "prims."))]
            names = known or [str(one).splitlines()[0][:80]]
            return f"no ONNX operation for {names[0]}"
    return ""


def _refusal(reason: str) -> ConversionError:
    return ConversionError(
        f"ONNX: {reason}; write that step in other operators, or leave ONNX out with --target tflite"
    )


def _strip(proto: Any) -> None:
    """Take out what tells of the machine and the code that exported it."""
    proto.producer_name = proto.producer_version = ""
    for owner in (proto, proto.graph, *_nodes(proto.graph)):
        del owner.metadata_props[:]
    for values in (proto.graph.input, proto.graph.output, proto.graph.initializer):
        for value in values:
            del value.metadata_props[:]
            value.doc_string = ""
    kept = [one for one in proto.opset_import if one.domain in _STANDARD]
    copies = [onnx.OperatorSetIdProto.FromString(one.SerializeToString()) for one in kept]
    del proto.opset_import[:]
    proto.opset_import.extend(copies)


def _name_tensors(proto: Any, source: Program) -> None:
    """Give inputs and outputs the names of the signature, and casts where their types are others inside.

    Raises:
        ConversionError: the graph has other inputs or outputs.
    """
    graph, before, after = proto.graph, list[Any](), list[Any]()
    _rename(graph, {name: _inner(name) for name in _values(graph)})  # no name of the signature has a slash
    there, ends = {value.name for value in graph.input}, [value.name for value in graph.output]
    if missing := [name for name in source.input_ids if _inner(name) not in there]:
        raise _refusal(f"expected the inputs {list(source.input_ids)}, found no {missing[0]!r} in the graph")
    if len(ends) != len(source.output_ids):
        raise _refusal(f"expected {len(source.output_ids)} outputs, found {len(ends)} in the graph")
    names = dict[str, str]()
    for spec, identifier in zip(source.signature.inputs, source.input_ids.values(), strict=True):
        inner, element = _inner(spec.name), _element(str(source.dtypes[spec.name]).removeprefix("torch."))
        if element == _element(spec.dtype.value):
            names[inner] = identifier
        else:
            before.append(onnx.helper.make_node("Cast", [identifier], [inner], to=element))
    produced = {name for node in graph.node for name in node.output}
    types = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    for end, spec, identifier in zip(ends, source.signature.outputs, source.output_ids.values(), strict=True):
        element = _element(spec.dtype.value)
        if end in produced and ends.count(end) == 1 and types[end] == element:
            names[end] = identifier
        else:
            after.append(onnx.helper.make_node("Cast", [end], [identifier], to=element))
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in (*before, *graph.node, *after)]
    for values, specs, ids in (
        (graph.input, source.signature.inputs, source.input_ids),
        (graph.output, source.signature.outputs, source.output_ids),
    ):
        del values[:]
        values.extend(_described(ids[spec.name], spec) for spec in specs)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    _rename(graph, names)


def _inner(name: str) -> str:
    return f"/{name}"


def _values(graph: Any) -> Iterator[str]:
    """Yield the names of all values, those in loops and branches included."""
    yield from (one.name for one in (*graph.input, *graph.initializer))
    for node in _nodes(graph):
        yield from filter(None, node.output)
        for body in _bodies(node):
            yield from (one.name for one in (*body.input, *body.initializer))


def _described(identifier: str, spec: Any) -> Any:
    """Return the description of an input or output; variable dimensions have names that say what they are."""
    shape = [
        ("batch" if axis == 0 else f"{identifier}_{axis}") if size == -1 else size
        for axis, size in enumerate(spec.shape)
    ]
    return onnx.helper.make_tensor_value_info(identifier, _element(spec.dtype.value), shape)


def _element(dtype: str) -> int:
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    """Rename values everywhere in a graph, the bodies of loops and branches included."""
    for one in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        one.name = names.get(one.name, one.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for body in _bodies(node):
            _rename(body, names)


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for body in _bodies(node):
            yield from _nodes(body)


def _bodies(node: Any) -> Iterable[Any]:
    return (attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH)
