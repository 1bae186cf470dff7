"""Operations of LiteRT on values that they may not be ready for."""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from simulators.fatal_values.case import FOUR, LONG, ONE, PLACES, Array, Case, divisions, integers
from simulators.late_failures import Graph

_OP = schema.BuiltinOperator
_VERSIONS = (1, 2)
_OPTIONS = {name.lower(): made for name, made in vars(schema).items() if name.endswith("OptionsT")}


def compute(case: Case) -> str:
    """Return the first values of what an operation gives, in words; what the engine raises comes through."""
    inputs = [np.asarray(value) for value in case.inputs]
    for version in _VERSIONS:  # of the format of this operation
        try:
            interpreter = Interpreter(model_content=_file(case, inputs, version=version))
            interpreter.allocate_tensors()
        except ValueError as err:
            if version == _VERSIONS[-1] or "version" not in str(err):
                raise
        else:
            break
    for detail, value in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return f"{found.dtype}{list(found.shape)} {found.ravel()[:3].tolist()}"


def _file(case: Case, inputs: list[Array], *, version: int) -> bytes:
    graph = Graph([schema.BufferT()], [])
    taken = [graph.tensor(f"input_{i}", x.shape, kind=str(x.dtype).upper()) for i, x in enumerate(inputs)]
    given = [graph.tensor("output", (), kind=(case.gives or str(inputs[0].dtype)).upper())]
    if case.second:
        given.append(graph.tensor("second", (), kind="INT32"))
    made = _OPTIONS.get(
        "reduceroptionst" if case.operation == "SUM" else f"{case.operation.replace('_', '')}optionst".lower()
    )
    options = made() if made else None
    for name, value in case.options.items():
        setattr(options, name, value)
    code = getattr(_OP, case.operation)
    graph.add(code, taken, given, options)
    kind = schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=version)
    main = graph.finish("main", taken, given)
    model = schema.ModelT(version=3, operatorCodes=[kind], subgraphs=[main], buffers=graph.buffers)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _ints(*values: int) -> Array:
    return integers(*values, dtype="int32")


def cases() -> dict[str, Case]:
    kinds: list[tuple[str, dict[str, int]]] = [("DIV", {}), ("FLOOR_DIV", {}), ("FLOOR_MOD", {})]
    found = divisions(kinds, ("int8", "uint8", "int16", "int32", "uint32", "int64"))
    for place in PLACES:
        at = _ints(place)
        found |= {
            f"GATHER: {place}": Case("GATHER", [FOUR, at]),
            f"GATHER_ND: {place}": Case("GATHER_ND", [FOUR, at[None]]),
            f"SCATTER_ND: {place}": Case("SCATTER_ND", [at[None], ONE, _ints(4)], gives="float32"),
            f"ONE_HOT: index {place}": Case(
                "ONE_HOT", [at, np.int32(4), np.float32(1), np.float32(0)], {"axis": -1}, "float32"
            ),
            f"EMBEDDING_LOOKUP: {place}": Case("EMBEDDING_LOOKUP", [at, np.ones((4, 2), np.float32)], gives="float32"),
            f"SEGMENT_SUM: {place}": Case("SEGMENT_SUM", [FOUR[:1], at]),
            f"UNSORTED_SEGMENT_SUM: {place}": Case("UNSORTED_SEGMENT_SUM", [FOUR[:1], at, np.int32(4)]),
            f"REVERSE_SEQUENCE: {place}": Case(
                "REVERSE_SEQUENCE", [np.ones((4, 1), np.float32), at], {"seqDim": 0, "batchDim": 1}
            ),
            f"DYNAMIC_UPDATE_SLICE: {place}": Case("DYNAMIC_UPDATE_SLICE", [FOUR, ONE, at]),
            f"CUMSUM: axis {place}": Case("CUMSUM", [FOUR, np.int32(place)]),
            f"SUM: axis {place}": Case("SUM", [FOUR, at]),
            f"ARG_MAX: axis {place}": Case("ARG_MAX", [FOUR, np.int32(place)], {"outputType": 2}, "int32"),
            f"REVERSE_V2: axis {place}": Case("REVERSE_V2", [FOUR, at]),
            f"EXPAND_DIMS: axis {place}": Case("EXPAND_DIMS", [FOUR, np.int32(place)]),
            f"TRANSPOSE: {place}": Case("TRANSPOSE", [FOUR, at]),
            f"SPLIT: axis {place}": Case("SPLIT", [np.int32(place), FOUR], {"numSplits": 1}, "float32"),
        }
    for n in (-1, 0, LONG, 2**31 - 1):
        found |= _litert_sizes(n)
    for dtype in ("int32", "uint32"):
        for shift in (-1, 64):
            operands = [integers(1, dtype=dtype), np.array([shift]).astype(dtype)]
            found[f"RIGHT_SHIFT {dtype}: by {shift}"] = Case("RIGHT_SHIFT", operands)
    return found | {
        "RANGE int32: step 0": Case("RANGE", [np.int32(0), np.int32(9), np.int32(0)]),
        "RANGE float: step 0": Case("RANGE", [np.float32(0), np.float32(9), np.float32(0)]),
        "RANGE float: to inf": Case("RANGE", [np.float32(0), np.float32(np.inf), np.float32(1)]),
        "STRIDED_SLICE: step 0": Case("STRIDED_SLICE", [FOUR, *(_ints(v) for v in (0, 4, 0))]),
        "SLICE: from 99": Case("SLICE", [FOUR, _ints(99), _ints(4)]),
        "SLICE: from -99": Case("SLICE", [FOUR, _ints(-99), _ints(4)]),
        "CAST: nan to int32": Case(
            "CAST", [np.array([np.nan], np.float32)], {"inDataType": 0, "outDataType": 2}, "int32"
        ),
        "POW int32: 0 to -1": Case("POW", [_ints(0), _ints(-1)]),
    }


def _litert_sizes(n: int) -> dict[str, Case]:
    count, image = _ints(n), np.ones((1, 2, 2, 1), np.float32)
    return {
        f"FILL: {n}": Case("FILL", [count, np.float32(1)], gives="float32"),
        f"BROADCAST_TO: {n}": Case("BROADCAST_TO", [ONE, count]),
        f"TILE: {n}": Case("TILE", [ONE, count]),
        f"RANGE: {n}": Case("RANGE", [np.int32(0), np.int32(n), np.int32(1)]),
        f"PAD: {n}": Case("PAD", [ONE, np.array([[0, n]], np.int32)]),
        f"MIRROR_PAD: {n}": Case("MIRROR_PAD", [FOUR, np.array([[0, n]], np.int32)]),
        f"ONE_HOT: depth {n}": Case(
            "ONE_HOT", [_ints(0), np.int32(n), np.float32(1), np.float32(0)], {"axis": -1}, "float32"
        ),
        f"TOPK_V2: {n}": Case("TOPK_V2", [FOUR, np.int32(n)], second=True),
        f"RESHAPE: {n}": Case("RESHAPE", [FOUR, count]),
        f"SLICE: {n} values": Case("SLICE", [FOUR, _ints(0), count]),
        f"STRIDED_SLICE: to {n}": Case("STRIDED_SLICE", [FOUR, *(_ints(v) for v in (-n, n, 1))]),
        f"SPLIT_V: {n}": Case("SPLIT_V", [FOUR, count, np.int32(0)], {"numSplits": 1}),
        f"RESIZE_BILINEAR: {n}": Case("RESIZE_BILINEAR", [image, _ints(1, n)]),
        f"RESIZE_NEAREST_NEIGHBOR: {n}": Case("RESIZE_NEAREST_NEIGHBOR", [image, _ints(1, n)]),
        f"SCATTER_ND: shape {n}": Case("SCATTER_ND", [_ints(0)[None], ONE, count], gives="float32"),
        f"UNSORTED_SEGMENT_SUM: {n} segments": Case(
            "UNSORTED_SEGMENT_SUM", [ONE, _ints(0), np.int32(n)]
        ),
        f"SPACE_TO_BATCH_ND: block {n}": Case(
            "SPACE_TO_BATCH_ND", [image, _ints(1, n), np.zeros((2, 2), np.int32)]
        ),
        f"BATCH_TO_SPACE_ND: block {n}": Case(
            "BATCH_TO_SPACE_ND", [image, _ints(1, n), np.zeros((2, 2), np.int32)]
        ),
    }  # fmt: skip
