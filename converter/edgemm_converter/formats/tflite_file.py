"""The reader of TFLite files: their signatures, tensors and precision, and the engine version that they need.

Needs LiteRT, and no TensorFlow.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgemm.bundle.manifest import Precision, Quantization, VariantTensor, known_dtype
from edgemm.errors import InputError
from edgemm.versions import release_tuple
from edgemm_converter.children import array_files
from edgemm_converter.formats import tflite_client_values, tflite_flow, tflite_operations, tflite_state
from edgemm_converter.job import naming
from edgemm_converter.job.targets import FinishedFile
from edgemm_converter.judging import reachability

# LiteRT counts anew from 1.0, which had all that TensorFlow Lite 2.17 had; the file speaks of TensorFlow's numbers.
# What came before LiteRT counts from 0 in a manifest: TensorFlow Lite 2.3.0 is 0.2.3.0.
_TFLITE_OF_LITERT_1 = (2, 17)
_LITERT_1, _LITERT_2 = "1.0.0", "2.1.0"
_DEFAULT_SIGNATURE = "serving_default"
_OF_FLOATS = (Precision.FLOAT32, Precision.FLOAT16)
_TO_FLOAT = "DEQUANTIZE"
_SMALL_INTEGERS = (schema.TensorType.INT8, schema.TensorType.UINT8, schema.TensorType.INT4)
_OF_DATA = ("RANGE", "UNIQUE", "WHERE")
"""Operations whose output is as long as the values of their inputs say."""
_QUANTIZED = {schema.TensorType.INT16, *_SMALL_INTEGERS}


def read(path: Path, data: bytes, *, signature: str | None) -> FinishedFile:
    """Describe a `.tflite` file, by one signature of it or, without signatures, by its tensors' own names.

    Raises:
        InputError: it is damaged, compiled for an accelerator, draws random numbers, or has no such signature.
    """
    model = None
    try:
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        tflite_operations.check_compiled(path, model)
        interpreter = Interpreter(model_content=data)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, IndexError, TypeError, AttributeError, struct.error) as err:
        reason = tflite_operations.refusal(model, err)
        raise InputError(f"{path}: LiteRT cannot open the file: {reason}") from err
    key = _signature(path, interpreter, signature)
    _check_graph(path, model, key)
    inputs, outputs = _sides(path, interpreter, key)
    reachability.check(tflite_flow.random_operations(model, signature=key), path=path)
    for name, operation in _varying(model, inputs, outputs).items():
        raise array_files.depends_on_data(name, f"it comes from {operation}")
    guarded, notes = tflite_client_values.guarded(data, signature=key)
    return FinishedFile(
        _precision(model), minimum_engine(data), inputs, outputs, bounded=tflite_operations.is_bounded(model),
        state=tflite_state.of(model, signature=key), guarded=guarded, notes=notes,
    )  # fmt: skip


def minimum_engine(file: bytes) -> str:
    """Return the oldest engine that runs a file, from the metadata that the converter put into it.

    That is LiteRT, or for floats a TensorFlow Lite before it (`0.2.3.0`). Integers need LiteRT: older kernels round
    them otherwise, by up to 8 steps of an output, and a quantizer leaves the metadata of the float file.
    """
    flat = schema.ModelT.InitFromPackedBuf(file, 0)
    for entry in flat.metadata or ():
        if entry.name == b"min_runtime_version":
            text = bytes(flat.buffers[entry.buffer].data).rstrip(b"\0").decode("ascii", "replace")
            if (0,) < release_tuple(text)[:2] <= _TFLITE_OF_LITERT_1:
                return f"0.{text}" if _precision(flat) in _OF_FLOATS else _LITERT_1
    return _LITERT_2


def tensor(name: str, detail: Mapping[str, Any]) -> VariantTensor:
    """Return a tensor as an interpreter describes it, under the name that the signature gives it.

    Raises:
        ValueError: its dtype is none that edgemm serves, or its scale is no number.
    """
    scale, zero_point = detail["quantization"]
    if not (math.isfinite(scale) and scale >= 0):
        raise ValueError(f"the scale of {detail['name']!r} is {scale}")
    return VariantTensor(
        name=name,
        tensor=detail["name"],
        dtype=known_dtype(np.dtype(detail["dtype"]).name),
        shape=tuple(int(d) for d in detail["shape_signature"]),
        quantization=Quantization(scale=float(scale), zero_point=int(zero_point)) if scale else None,
    )


def float_operations(file: bytes) -> tuple[str, ...]:
    """Return the operations of a file's main graph that compute floats: the kind of each, and what it gives."""
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    graph = model.subgraphs[0]
    found: list[str] = []
    for operation in graph.operators:
        kind = tflite_operations.kind(model.operatorCodes[operation.opcodeIndex])
        given = [graph.tensors[index] for index in _indices(operation.outputs)[:1]]  # some give nothing
        if kind != _TO_FLOAT:
            names = [naming.readable(t.name.decode()) for t in given if t.type == schema.TensorType.FLOAT32]
            found.extend(f"{kind} at {name}" for name in names)
    return tuple(found)


def _varying(model: Any, inputs: tuple[VariantTensor, ...], outputs: tuple[VariantTensor, ...]) -> dict[str, str]:
    """Return the outputs whose length depends on the data, each with the operation that it comes from.

    They have an open axis though no input has one.
    """
    if any(-1 in tensor.shape for tensor in inputs):
        return {}
    graph = model.subgraphs[0]
    kinds = [tflite_operations.kind(model.operatorCodes[operation.opcodeIndex]) for operation in graph.operators]
    made = {index: i for i, operation in enumerate(graph.operators) for index in _indices(operation.outputs)}
    indices = {tensor.name.decode(): index for index, tensor in enumerate(graph.tensors)}
    found: dict[str, str] = {}
    for output in (tensor for tensor in outputs if -1 in tensor.shape):
        seen, waiting = set(), [indices.get(output.tensor, -1)]
        while waiting:
            operation = made.get(waiting.pop())
            if operation is not None and operation not in seen:
                seen.add(operation)
                waiting.extend(_indices(graph.operators[operation].inputs))
        of_data = [kinds[i] for i in sorted(seen) if kinds[i] in _OF_DATA]
        found |= {output.name: of_data[0]} if of_data else {}
    return found


def multiplications(file: bytes) -> int:
    """Return about how many multiplications an inference at batch 1 takes: each weight once a place of the output."""
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    found = 0
    for graph in model.subgraphs:
        for operation in graph.operators:
            given = [graph.tensors[index] for index in _indices(operation.inputs) if index >= 0]
            weights = [_size(t) for t in given if content_bytes(model.buffers[t.buffer]) and len(_sides_of(t)) > 1]
            made = [_sides_of(graph.tensors[index]) for index in _indices(operation.outputs)[:1]]
            found += max(weights, default=0) * math.prod(made[0][:-1] if made else ())
    return found


def _sides_of(tensor: Any) -> list[int]:
    return [] if tensor.shape is None else [max(1, int(side)) for side in tensor.shape]


def _size(tensor: Any) -> int:
    return math.prod(_sides_of(tensor))


def _check_graph(path: Path, model: Any, key: str) -> None:
    """Check that a signature is of the file's first graph, which is the one that devices run."""
    graphs = {
        bytes(s.signatureKey or b"").decode("utf-8", "replace"): s.subgraphIndex for s in model.signatureDefs or ()
    }
    if key and graphs.get(key):
        first = " or ".join(repr(name) for name, index in sorted(graphs.items()) if not index)
        raise InputError(
            f"{path}: signature {key!r} is of graph {graphs[key]} of the file, and devices run its first one"
            f"{f' (signature {first})' if first else ''}: convert that signature into a file of its own"
        )


def _indices(found: Any) -> list[int]:
    return [] if found is None else [int(index) for index in found]


def content_bytes(buffer: Any) -> int:
    """Return how long a buffer's content is, which lies in it or, in large files, behind the flatbuffer."""
    return int(buffer.size) if buffer.offset > 1 else 0 if buffer.data is None else len(buffer.data)


def _signature(path: Path, interpreter: Any, wanted: str | None) -> str:
    """Return the signature to serve; "" where the file has none."""
    signatures = sorted(interpreter.get_signature_list())
    key = wanted or (_DEFAULT_SIGNATURE if _DEFAULT_SIGNATURE in signatures else "")
    if not key and len(signatures) == 1:
        key = signatures[0]
    if key not in signatures and (key or signatures):
        raise InputError(
            f"{path}: expected a signature {key or _DEFAULT_SIGNATURE!r}, found {', '.join(signatures) or 'none'}; "
            "choose one with --signature"
        )
    return key


def _sides(path: Path, interpreter: Any, key: str) -> tuple[tuple[VariantTensor, ...], ...]:
    if not key:
        return tuple(_unsigned(path, d) for d in (interpreter.get_input_details(), interpreter.get_output_details()))
    runner = interpreter.get_signature_runner(key)
    return tuple(
        _tensors(path, details.items()) for details in (runner.get_input_details(), runner.get_output_details())
    )


def _unsigned(path: Path, details: Iterable[Mapping[str, Any]]) -> tuple[VariantTensor, ...]:
    found = list(details)
    names = naming.unique(_plain(detail["name"]) for detail in found)
    return _tensors(path, zip(names, found, strict=True))


def _plain(name: str) -> str:
    """Return a tensor's name without what the converter put around it."""
    return name.removeprefix(f"{_DEFAULT_SIGNATURE}_").split(":", maxsplit=1)[0] or "tensor"


def _tensors(path: Path, named: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[VariantTensor, ...]:
    try:
        return tuple(tensor(name, detail) for name, detail in named)
    except (ValueError, TypeError) as err:
        raise InputError(f"{path}: a tensor of the file is not of numbers: {err}; edgemm serves numbers") from err


def _precision(model: Any) -> Precision:
    """Tell the precision from the tensors: what the weights are, and what the operations compute in."""
    tensors = [t for graph in model.subgraphs for t in graph.tensors]
    weights = [t for t in tensors if content_bytes(model.buffers[t.buffer])]
    heavy = max(weights, key=lambda t: math.prod(t.shape if t.shape is not None else ()), default=None)
    activations = {t.type for t in tensors if not content_bytes(model.buffers[t.buffer]) and _has_scale(t)}
    kinds = {t.type for t in weights if _has_scale(t)}
    if schema.TensorType.INT16 in activations and _computes_in_16_bits(model):
        return Precision.INT16X8
    if activations & set(_SMALL_INTEGERS):
        return Precision.INT8
    if kinds & set(_SMALL_INTEGERS):
        return Precision.INT8_DYNAMIC
    if heavy is not None and heavy.type == schema.TensorType.FLOAT16:
        return Precision.FLOAT16
    return Precision.FLOAT32


def _computes_in_16_bits(model: Any) -> bool:
    """Tell whether more 8-bit weights meet 16-bit values than 8-bit ones; a cell state in an int8 file is no sign."""
    met = {True: 0, False: 0}
    for graph in model.subgraphs:
        for operation in graph.operators:
            given = [graph.tensors[index] for index in _indices(operation.inputs) if index >= 0]
            sizes = {id(tensor): content_bytes(model.buffers[tensor.buffer]) for tensor in given}
            constants = [tensor for tensor in given if sizes[id(tensor)]]
            weights = [sizes[id(tensor)] for tensor in constants if tensor.type in _SMALL_INTEGERS]
            kinds = {tensor.type for tensor in given if not sizes[id(tensor)] and _has_scale(tensor)}
            if weights or not constants:
                for wide in {kind == schema.TensorType.INT16 for kind in kinds & _QUANTIZED}:
                    met[wide] += max([1, *weights])
    return met[True] > met[False]


def _has_scale(found: Any) -> bool:
    quantization = found.quantization
    return quantization is not None and quantization.scale is not None and len(quantization.scale) > 0
