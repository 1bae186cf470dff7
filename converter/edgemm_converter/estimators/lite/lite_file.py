"""The TFLite file of an estimator's ONNX file: step by step, each in builtin operations, for one row at a time.

    made(file).data

ONNX Runtime runs the file once, so that the shape and dtype of every value are known, and what does not depend on the
rows becomes a constant. What the file computes in double precision no kernel of TFLite computes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgemm import library_errors
from edgemm.errors import ConversionError
from edgemm_converter.data.arrays import Array
from edgemm_converter.estimators.lite import learner_steps, machine_steps, moving_steps, onnx_steps
from edgemm_converter.estimators.lite.flat_graph import FlatGraph, NoBuiltinsError, Value
from edgemm_converter.estimators.lite.step import GraphStep, Handler, Texts
from edgemm_converter.estimators.onnx_session import FileSession

_MOST_STEPS, _MOST_BYTES = 5_000, 64 * 2**20
_NAMED = 4
_HANDLERS: dict[str, dict[str, Handler]] = {
    "": {**moving_steps.HANDLERS, **onnx_steps.HANDLERS},
    "ai.onnx.ml": {**learner_steps.HANDLERS, **machine_steps.HANDLERS},
}
_SINGLE = ("float32", "int64", "int32", "bool", "object")
_COMPARISONS = {"LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", "EQUAL", "NOT_EQUAL"}


@dataclass(frozen=True)
class LiteFile:
    """A file, the oldest TensorFlow Lite that runs it, and whether it tells numbers from one another by comparing."""

    data: bytes
    minimum_runtime: str
    compares: bool


def made(file: bytes) -> LiteFile:
    """Return the TFLite file that answers as an ONNX file with one input [batch, columns] does.

    Raises:
        ConversionError: a step of it has no builtin operations, or it is too large.
    """
    proto = onnx.load_from_string(file)
    nodes, sides = list(proto.graph.node), proto.graph.input
    if len(sides) != 1 or sides[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise _left_out("its rows are named columns or texts, and a TFLite file takes one table of numbers here")
    unknown = dict.fromkeys(n.op_type for n in nodes if n.op_type not in (*_HANDLERS.get(n.domain, ()), "Constant"))
    computed = [n for n in unknown if n not in ("Shape", "ConstantOfShape")]
    if computed:
        more = ", …" if len(computed) > _NAMED else ""
        raise _left_out(f"{', '.join(computed[:_NAMED])}{more}: no builtin operations for what it computes")
    if len(nodes) > _MOST_STEPS:
        raise _left_out(f"it has {len(nodes):,} steps, and up to {_MOST_STEPS:,} are a small model")
    if (size := proto.ByteSize()) > _MOST_BYTES:
        raise _left_out(f"it has {size / 2**20:.0f} MiB, and up to {_MOST_BYTES // 2**20} are a small model")
    try:
        return _Translation(proto, _run_once(proto)).file()
    except NoBuiltinsError as err:
        raise _left_out(str(err)) from err
    except (LookupError, TypeError, ValueError) as err:
        raise _left_out(f"its ONNX file has a form that is not known here: {library_errors.plain(err)}") from err


def _left_out(why: str) -> ConversionError:
    return ConversionError(f"TFLite: {why}; ONNX alone")


def _run_once(proto: Any) -> dict[str, Array]:
    """Return every value that a graph computes of one row of ones."""
    (rows,) = proto.graph.input
    names = list(dict.fromkeys(name for node in proto.graph.node for name in node.output if name))
    asked = onnx.ModelProto()
    asked.CopyFrom(proto)
    del asked.graph.output[:]
    asked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    row = np.ones((1, rows.type.tensor_type.shape.dim[1].dim_value), np.float32)
    return FileSession(asked.SerializeToString()).run({rows.name: row}, names)


class _Translation:
    """One graph on its way."""

    def __init__(self, proto: Any, found: dict[str, Array]) -> None:
        self._proto, self._found = proto, found
        self._graph = FlatGraph()
        self._values: dict[str, Any] = {}
        self._constants = {one.name: numpy_helper.to_array(one) for one in proto.graph.initializer}
        self._uses = Counter(name for node in proto.graph.node for name in node.input)
        self._uses.update(value.name for value in proto.graph.output)

    def file(self) -> LiteFile:
        """Return the file.

        Raises:
            NoBuiltinsError: a step has no builtin operations.
        """
        (rows,) = self._proto.graph.input
        columns = rows.type.tensor_type.shape.dim[1].dim_value
        self._values[rows.name] = self._graph.given(rows.name, np.float32, (1, columns))
        for node in self._proto.graph.node:
            self._take(node)
        outputs = {one.name: self._value(one.name) for one in self._proto.graph.output}
        data, kinds = self._graph.file(outputs), set(self._graph.operations)
        return LiteFile(data, self._graph.minimum_runtime(), compares=bool(kinds & _COMPARISONS))

    def _take(self, node: Any) -> None:
        given = [name for name in node.input if name]
        if node.op_type in ("Constant", "Shape") or all(name in self._constants for name in given):
            self._constants |= {name: self._found[name] for name in node.output if name}
            return
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        attributes["lone"] = all(self._uses[name] == 1 for name in given if name not in self._constants)
        answers = [self._found[name] for name in node.output if name]
        if any(one.dtype.name not in _SINGLE for one in answers):
            raise NoBuiltinsError("it computes in double precision, which no kernel of TFLite does")
        step = GraphStep(
            node.op_type, attributes, tuple(one.shape for one in answers), tuple(one.dtype.name for one in answers)
        )
        made = _HANDLERS[node.domain][node.op_type](
            self._graph, step, [self._value(name) if name else None for name in node.input]
        )
        for name, value, answer in zip(node.output, made if isinstance(made, tuple) else (made,), answers, strict=True):
            self._values[name] = self._as_found(step, value, answer)
            if isinstance(value, Value):
                self._graph.called(value, name)

    def _as_found(self, step: GraphStep, value: Any, answer: Array) -> Any:
        if isinstance(value, Texts):
            return Texts(value.table, self._graph.shaped(value.places, answer.shape))
        if value.dtype != answer.dtype.name:
            raise step.refused(f"from {value.dtype} to {answer.dtype.name}")
        return self._graph.shaped(value, answer.shape)

    def _value(self, name: str) -> Any:
        if name not in self._values:
            array = self._constants[name]
            if array.dtype.kind in "OSU":
                texts = [one.decode() if isinstance(one, bytes) else str(one) for one in array.ravel()]
                places = self._graph.constant(np.arange(len(texts)).reshape(array.shape))
                self._values[name] = Texts(tuple(texts), places)
            else:
                self._values[name] = self._graph.constant(array)
        found: Value | Texts = self._values[name]
        return found
