"""TFLite flatbuffers of fully connected and convolutional layers, written without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

Floats = npt.NDArray[np.float32]
INPUT, OUTPUT = "serving_default_x:0", "StatefulPartitionedCall:0"
_TYPES = {"float32": schema.TensorType.FLOAT32, "int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32}


@dataclass(frozen=True)
class Affine:
    """real = (integer − zero_point) × scale."""

    scale: float
    zero_point: int = 0


@dataclass(frozen=True)
class _Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes | None = None
    affine: Affine | None = None


def dense_float32(kernel: Floats, bias: Floats, *, batch: int = -1) -> bytes:
    """Return `x @ kernel + bias` in float32; `batch` is −1 (variable) or a fixed length."""
    weights = np.ascontiguousarray(kernel.T)
    tensors = [
        _Tensor(INPUT, "float32", (batch, kernel.shape[0])),
        _Tensor("kernel", "float32", weights.shape, weights.tobytes()),
        _Tensor("bias", "float32", bias.shape, bias.tobytes()),
        _Tensor(OUTPUT, "float32", (batch, kernel.shape[1])),
    ]
    return _pack(tensors)


def dense_int8(kernel: Floats, bias: Floats, *, into: Affine, out: Affine, batch: int = -1) -> bytes:
    """Return `x @ kernel + bias` in int8, from and to int8 tensors with the given quantizations."""
    step = float(np.abs(kernel).max()) / 127
    weights = np.rint(np.ascontiguousarray(kernel.T) / step).astype(np.int8)
    offsets = np.rint(bias / (into.scale * step)).astype(np.int32)
    tensors = [
        _Tensor(INPUT, "int8", (batch, kernel.shape[0]), affine=into),
        _Tensor("kernel", "int8", weights.shape, weights.tobytes(), Affine(step)),
        _Tensor("bias", "int32", offsets.shape, offsets.tobytes(), Affine(into.scale * step)),
        _Tensor(OUTPUT, "int8", (batch, kernel.shape[1]), affine=out),
    ]
    return _pack(tensors)


def dense_heads(kernels: Mapping[str, Floats]) -> bytes:
    """Return one layer per name, `out_NAME = in_NAME @ kernel`, all in one file; outputs in the reverse order."""
    tensors: list[_Tensor] = []
    for name, kernel in kernels.items():
        weights, bias = np.ascontiguousarray(kernel.T), np.zeros(kernel.shape[1], np.float32)
        tensors += [
            _Tensor(f"in_{name}", "float32", (-1, kernel.shape[0])),
            _Tensor(f"kernel_{name}", "float32", weights.shape, weights.tobytes()),
            _Tensor(f"bias_{name}", "float32", bias.shape, bias.tobytes()),
            _Tensor(f"out_{name}", "float32", (-1, kernel.shape[1])),
        ]
    return _pack(tensors)


def conv_float32(kernel: Floats, bias: Floats) -> bytes:
    """Return a convolution without padding over an image of any size; `kernel` is [height, width, in, out]."""
    weights = np.ascontiguousarray(kernel.transpose(3, 0, 1, 2))
    tensors = [
        _Tensor(INPUT, "float32", (-1, -1, -1, kernel.shape[2])),
        _Tensor("kernel", "float32", weights.shape, weights.tobytes()),
        _Tensor("bias", "float32", bias.shape, bias.tobytes()),
        _Tensor(OUTPUT, "float32", (-1, -1, -1, kernel.shape[3])),
    ]
    options = schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.VALID, 1, 1
    options.dilationHFactor = options.dilationWFactor = 1
    return _pack(tensors, code=schema.BuiltinOperator.CONV_2D, options=options)


def _pack(
    tensors: list[_Tensor],
    *,
    code: int = schema.BuiltinOperator.FULLY_CONNECTED,
    options: schema.FullyConnectedOptionsT | schema.Conv2DOptionsT | None = None,
) -> bytes:
    """Return a file whose every four tensors are the input, weights, bias and output of a layer."""
    layers = range(0, len(tensors), 4)
    graph = schema.SubGraphT(
        tensors=[_tensor(t, buffer=i + 1) for i, t in enumerate(tensors)],
        inputs=list(layers),
        outputs=[first + 3 for first in reversed(layers)],
        operators=[_layer(first, options or schema.FullyConnectedOptionsT()) for first in layers],
        name="main",
    )
    model = schema.ModelT(
        version=3,
        operatorCodes=[schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=4)],
        subgraphs=[graph],
        buffers=[schema.BufferT(), *(_buffer(t.data) for t in tensors)],
    )
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _layer(first: int, options: schema.FullyConnectedOptionsT | schema.Conv2DOptionsT) -> schema.OperatorT:
    kind = "Conv2DOptions" if isinstance(options, schema.Conv2DOptionsT) else "FullyConnectedOptions"
    return schema.OperatorT(
        opcodeIndex=0,
        inputs=[first, first + 1, first + 2],
        outputs=[first + 3],
        builtinOptionsType=getattr(schema.BuiltinOptions, kind),
        builtinOptions=options,
    )


def _tensor(tensor: _Tensor, *, buffer: int) -> schema.TensorT:
    quantization = schema.QuantizationParametersT()
    if tensor.affine:
        quantization.scale, quantization.zeroPoint = [tensor.affine.scale], [tensor.affine.zero_point]
    return schema.TensorT(
        shape=[abs(n) for n in tensor.shape],
        shapeSignature=list(tensor.shape),
        type=_TYPES[tensor.dtype],
        buffer=buffer,
        name=tensor.name,
        quantization=quantization,
    )


def _buffer(data: bytes | None) -> schema.BufferT:
    return schema.BufferT() if data is None else schema.BufferT(data=np.frombuffer(data, np.uint8))
