"""A TFLite model that needs far more memory than its file is long; without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from msgspec.structs import replace

from edgemm.bundle import write_bundle
from edgemm.bundle.manifest import Blob, Manifest
from edgemm.canonical import sha256
from simulators import models
from simulators.late_failures import Graph
from simulators.tflite import INPUT, OUTPUT, Floats

_OP = schema.BuiltinOperator
_WIDTH = 2**16


def make_greedy_bundle(path: Path, *, version: str, seed: int, needs_bytes: int) -> Manifest:
    """Write a bundle of the dense layer of `simulators.models` with a tensor of so many bytes in between."""
    manifest, blobs = models.make_manifest(version=version, seed=seed, variants=("tflite:float32",), batch=1)
    dense, (variant,) = models.Dense.random(seed), manifest.variants
    data = greedy(dense.kernel, dense.bias, rows=needs_bytes // (4 * _WIDTH))
    del blobs[variant.blob]
    blobs[digest := sha256(data)] = data
    sizes = {one: Blob(size=len(content), media_type="application/octet-stream") for one, content in blobs.items()}
    manifest = replace(manifest, variants=(replace(variant, blob=digest),), blobs=sizes)
    write_bundle(path, manifest, blobs)
    return manifest


def greedy(kernel: Floats, bias: Floats, *, rows: int) -> bytes:
    """Return `x @ kernel + bias` for batches of one, plus the largest of `rows` × 65,536 zeros."""
    buffers: list[Any] = [schema.BufferT()]
    codes: list[int] = []
    main = Graph(buffers, codes)
    x = main.tensor(INPUT, (1, kernel.shape[0]))
    dense, wide = main.tensor("dense", (1, kernel.shape[1])), main.tensor("wide", (rows, _WIDTH))
    largest, out = main.tensor("largest", (1, 1)), main.tensor(OUTPUT, (1, kernel.shape[1]))
    weights = main.constant("kernel", np.ascontiguousarray(kernel.T))
    main.add(_OP.FULLY_CONNECTED, [x, weights, main.constant("bias", bias)], dense, schema.FullyConnectedOptionsT())
    shape = main.tensor("shape", (2,), kind="INT32", data=np.array([rows, _WIDTH], np.int32))
    zero = main.tensor("zero", (), data=np.array(0, np.float32))
    # From a sum with the input, or the engine computes all of it at once when the file is opened.
    first = main.tensor("first", (1, 1))
    axis = main.tensor("axis", (2,), kind="INT32", data=np.array([0, 1], np.int32))
    keep = schema.ReducerOptionsT(keepDims=True)
    main.add(_OP.SUM, [x, axis], first, keep)
    nothing = main.tensor("nothing", (1, 1))
    main.add(_OP.MUL, [first, zero], nothing, schema.MulOptionsT())
    main.add(_OP.BROADCAST_TO, [nothing, shape], wide, schema.BroadcastToOptionsT())
    main.add(_OP.REDUCE_MAX, [wide, axis], largest, keep)
    main.add(_OP.ADD, [dense, largest], out, schema.AddOptionsT())
    model = schema.ModelT(
        version=3,
        operatorCodes=[
            schema.OperatorCodeT(
                deprecatedBuiltinCode=min(c, 127), builtinCode=c, version=2 if c == _OP.BROADCAST_TO else 1
            )
            for c in codes
        ],
        subgraphs=[main.finish("main", [x], [out])],
        buffers=buffers,
    )
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def filled(kind: str = "FILL") -> bytes:
    """Return a model whose output y is as long as its input n (int32 [1]) says: ones, by an operation of this kind.

    FILL, TILE and BROADCAST_TO make it at once; OUTER makes a row of so many, and adds it to itself as a column.
    """
    graph = Graph([schema.BufferT()], [])
    n, y = graph.tensor("n", (1,), kind="INT32"), graph.tensor("y", (1,))
    graph.tensors[y].shapeSignature = [-1]
    one, row = graph.tensor("one", (), data=np.array(1, np.float32)), graph.constant("row", [1])
    match kind:
        case "FILL":
            graph.add(_OP.FILL, [n, one], y, schema.FillOptionsT())
        case "TILE":
            graph.add(_OP.TILE, [row, n], y, schema.TileOptionsT())
        case "BROADCAST_TO":
            graph.add(_OP.BROADCAST_TO, [row, n], y, schema.BroadcastToOptionsT())
        case _:
            long, column = graph.tensor("long", (1,)), graph.tensor("column", (1, 1))
            axis = graph.tensor("axis", (), kind="INT32", data=np.array(1, np.int32))
            graph.add(_OP.FILL, [n, one], long, schema.FillOptionsT())
            graph.add(_OP.EXPAND_DIMS, [long, axis], column, schema.ExpandDimsOptionsT())
            graph.add(_OP.MUL, [long, column], y, schema.MulOptionsT())
            graph.tensors[y].shape, graph.tensors[y].shapeSignature = [1, 1], [-1, -1]
    codes = [
        schema.OperatorCodeT(
            deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=2 if code == _OP.BROADCAST_TO else 1
        )
        for code in graph.codes
    ]
    model = schema.ModelT(
        version=3, operatorCodes=codes, subgraphs=[graph.finish("main", [n], [y])], buffers=graph.buffers
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
