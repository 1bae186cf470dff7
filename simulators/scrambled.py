"""Wrong models: `.tflite` files whose weights are those of another file in another order."""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_DTYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.UINT8: np.uint8,
}
_SMALL_BYTES = 64


def scrambled(model: bytes, *, tensors: int | None = None) -> bytes:
    """Return a file in which the largest `tensors` weights, all by default, are shuffled."""
    flat, rng = schema.ModelT.InitFromPackedBuf(model, 0), np.random.default_rng(0)
    kinds = {tensor.buffer: tensor.type for graph in flat.subgraphs for tensor in graph.tensors}
    weights = [
        buffer
        for number, buffer in enumerate(flat.buffers)
        if buffer.data is not None and len(buffer.data) > _SMALL_BYTES and kinds.get(number) in _DTYPES
    ]
    of = {
        id(buffer): _DTYPES[kinds[number]] for number, buffer in enumerate(flat.buffers) if kinds.get(number) in _DTYPES
    }
    for buffer in sorted(weights, key=lambda one: len(one.data), reverse=True)[:tensors]:
        values = np.array(buffer.data, np.uint8).view(of[id(buffer)])
        rng.shuffle(values)
        buffer.data = values.view(np.uint8)
    builder = flatbuffers.Builder()
    builder.Finish(flat.Pack(builder), b"TFL3")
    return bytes(builder.Output())
