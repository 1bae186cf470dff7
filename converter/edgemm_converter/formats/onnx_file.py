"""The reader of ONNX files: their tensors, their precision and the engine version that they need.

Needs onnx, and no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from google.protobuf.message import DecodeError

from edgemm import library_errors
from edgemm.bundle.manifest import NUMBERS, Precision, VariantTensor, known_dtype
from edgemm.errors import InputError
from edgemm_converter.formats import onnx_client_values, onnx_flow
from edgemm_converter.job.targets import FinishedFile
from edgemm_converter.judging import reachability

# The first ONNX Runtime of each opset: onnxruntime.ai/docs/reference/compatibility.html.
_ENGINES = (
    (17, "1.12.0"),
    (18, "1.14.0"),
    (19, "1.15.0"),
    (20, "1.17.0"),
    (21, "1.18.0"),
    (22, "1.20.0"),
    (23, "1.22.0"),
)
_INTEGER_NODES = {"QuantizeLinear", "QLinearConv", "QLinearMatMul"}
_DYNAMIC_NODES = {"DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "DequantizeLinear", "MatMulNBits"}
_OF_DATA = {"Compress", "NonMaxSuppression", "NonZero", "Range", "Unique"}
"""Operations whose output is as long as the values of their inputs say."""

_DOMAINS = ("ai.onnx.", "com.microsoft")
"""Domains of operations that ONNX Runtime has, beside ONNX's own; it says itself which of their operations it lacks."""

_ROWS, _LENGTH = 2, 16

_OF_VALID_INTEGERS = frozenset({
    "BitShift", "Compress", "ConstantOfShape", "Div", "Expand", "Gather", "GatherElements", "GatherND", "Loop", "Mod",
    "OneHot", "Pad", "Range", "Reshape", "ReverseSequence", "Scan", "Scatter", "ScatterElements", "ScatterND", "Slice",
    "Split", "Tile", "TopK", "Upsample", "Resize",
})  # fmt: skip
"""Operations that take integers as indices, lengths or divisors."""


def read(path: Path, data: bytes, *, signature: str | None) -> FinishedFile:
    """Describe an `.onnx` file, which has one signature.

    Raises:
        InputError: it is damaged, keeps weights in other files, draws random numbers, or a tensor is not of numbers.
    """
    if signature is not None:
        raise InputError(f"{path}: --signature {signature}: an ONNX file has one signature, without a name")
    try:
        proto = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as err:
        library_errors.note(err)
        raise InputError(f"{path}: the file is cut short or damaged; export it again") from err
    _check(path, proto)
    reachability.check(onnx_flow.random_operations(proto), path=path)
    varying = _of_data(proto)
    lengths = _open_when_fixed(proto) if varying else {}
    varying = {name: operation for name, operation in varying.items() if name in lengths}
    constants = {t.name for t in proto.graph.initializer}
    guarded, notes = onnx_client_values.guarded(proto)
    return FinishedFile(
        _precision(proto),
        _minimum_engine(proto),
        _tensors(path, (v for v in proto.graph.input if v.name not in constants)),
        tuple(_opened(t, lengths[t.name]) if t.name in varying else t for t in _tensors(path, proto.graph.output)),
        bounded=any(node.op_type in _OF_VALID_INTEGERS or node.domain for node in onnx_flow.all_nodes(proto)),
        guarded=guarded, notes=notes, varying=varying,
    )  # fmt: skip


def _check(path: Path, proto: Any) -> None:
    """Check that a file that could be read is a model, of a format that is known, all of whose parts are there."""
    if not proto.graph.node:
        raise InputError(
            f"{path}: the model has no operations: the file is cut short, or of another kind; export it again"
        )
    if outside := [t.name for t in proto.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]:
        raise InputError(
            f"{path}: {len(outside)} weights lie in other files; expected one file: save it without external data"
        )
    if proto.ir_version > onnx.IR_VERSION:
        raise InputError(
            f"{path}: the file is of IR version {proto.ir_version}, and {onnx.IR_VERSION} is the newest that is read: "
            "export it for an older opset, or update onnx and onnxruntime"
        )
    for value in (*proto.graph.input, *proto.graph.output):
        if not value.type.HasField("tensor_type"):
            kind = str(value.type.WhichOneof("value")).removesuffix("_type").replace("_", " ")
            raise InputError(f"{path}: {value.name!r} is no tensor ({kind}): give tensors in and out of the model")
    if nameless := _without_shape(proto):
        raise InputError(f"{path}: tensor {nameless!r} has no shape: export the model with the shapes of its inputs")
    own = {function.domain for function in proto.functions}
    for node in onnx_flow.all_nodes(proto):
        if node.domain not in own and not node.domain.startswith(_DOMAINS) and node.domain not in ("", "ai.onnx"):
            raise InputError(
                f"{path}: operation {node.op_type} of {node.domain!r} is no operation of ONNX, and ONNX Runtime does "
                "not have it: export the model with operations of ONNX alone"
            )
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as err:
        why = library_errors.plain(err)
        where = f": {why}" if library_errors.failure(err).operation else ""
        raise InputError(f"{path}: the file breaks a rule of ONNX{where}; export it again") from err


def _without_shape(proto: Any) -> str:
    constants = {tensor.name for tensor in proto.graph.initializer}
    asked = (v for v in proto.graph.input if v.name not in constants and not v.type.tensor_type.HasField("shape"))
    return next((value.name for value in asked), "")


def _of_data(proto: Any) -> dict[str, str]:
    """Return the outputs that an operation of a length of data has a part in, each with it.

    Their own length depends on the data where it is open even where all inputs' are fixed.
    """
    made = {name: node for node in proto.graph.node for name in node.output if name}
    found = {}
    for value in proto.graph.output:
        seen, waiting = set(), [value.name]
        while waiting:
            node = made.get(name := waiting.pop())
            if node is not None and name not in seen:
                seen.add(name)
                waiting.extend(node.input)
        kinds = (made[name].op_type for name in seen if made[name].op_type in _OF_DATA)
        if (operation := next(kinds, None)) is not None:
            found[value.name] = operation
    return found


def _opened(tensor: VariantTensor, axes: frozenset[int] | None) -> VariantTensor:
    """Return an output with open axes where its length depends on the data, whatever length the file says."""
    shape = tuple(-1 if axes is None or axis in axes else d for axis, d in enumerate(tensor.shape))
    return msgspec.structs.replace(tensor, shape=shape)


def _open_when_fixed(proto: Any) -> dict[str, frozenset[int] | None]:
    """Return the outputs that have open axes where those of all inputs are fixed; None where it is not known which."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(proto)
    for value in fixed.graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_value <= 0:
                dim.dim_value = _ROWS if axis == 0 else _LENGTH
    wanted = [value.name for value in fixed.graph.output]
    types = [value.type.tensor_type.elem_type for value in fixed.graph.output]
    del fixed.graph.output[:], fixed.graph.value_info[:]  # what they say is of open inputs
    fixed.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, kind, None) for name, kind in zip(wanted, types, strict=True)
    )
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    found: dict[str, frozenset[int] | None] = {}
    for value in inferred.graph.output:
        kind = value.type.tensor_type
        axes = frozenset(axis for axis, dim in enumerate(kind.shape.dim) if not dim.HasField("dim_value"))
        if axes or not kind.HasField("shape"):
            found[value.name] = axes if kind.HasField("shape") else None
    return found


def _tensors(path: Path, values: Iterable[Any]) -> tuple[VariantTensor, ...]:
    found = []
    for value in values:
        kind = value.type.tensor_type
        try:
            dtype = known_dtype(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name)
        except (ValueError, KeyError, TypeError) as err:
            raise InputError(
                f"{path}: tensor {value.name!r} is of dtype {onnx.TensorProto.DataType.Name(kind.elem_type).lower()}; "
                f"edgemm serves numbers ({', '.join(NUMBERS)}): export the model with one of them, such as float32"
            ) from err
        if not kind.HasField("shape"):
            raise InputError(f"{path}: tensor {value.name!r} has no shape: export the model with fixed shapes")
        shape = tuple(int(d.dim_value) if d.HasField("dim_value") and d.dim_value > 0 else -1 for d in kind.shape.dim)
        found.append(VariantTensor(name=value.name, tensor=value.name, dtype=dtype, shape=shape))
    return tuple(found)


def _precision(proto: Any) -> Precision:
    operations = {node.op_type for node in proto.graph.node}
    if operations & _INTEGER_NODES:
        return Precision.INT8
    if operations & _DYNAMIC_NODES:
        return Precision.INT8_DYNAMIC
    heavy = max(proto.graph.initializer, key=lambda t: np.prod(t.dims), default=None)
    if heavy is not None and heavy.data_type == onnx.TensorProto.FLOAT16:
        return Precision.FLOAT16
    return Precision.FLOAT32


def minimum_engine(file: bytes) -> str:
    """Return the oldest ONNX Runtime that runs a file."""
    return _minimum_engine(onnx.load_model_from_string(file))


def _minimum_engine(proto: Any) -> str:
    opset = max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=0)
    return next((engine for known, engine in _ENGINES if opset <= known), _ENGINES[-1][1])
