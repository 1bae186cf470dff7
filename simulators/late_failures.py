"""TFLite models that work for some inferences and then fail, as only a model in service can; without TensorFlow.

    data = late_failure(kernel, bias, Failure.HANG, after=20)

The model is the dense layer of `simulators.models`. Beside it an RNN cell of one unit, whose state lives in the
interpreter, counts the inferences; what is above `after` makes the model drift, fail, slow down, or never end, in a
`While` loop. The self-test in a child and the first golden sample in the serving process come too early to see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from msgspec.structs import replace

from edgemm.bundle import write_bundle
from edgemm.bundle.manifest import Blob, Manifest
from edgemm.canonical import sha256
from simulators import models
from simulators.tflite import INPUT, OUTPUT, Floats

_OP = schema.BuiltinOperator


class Failure(Enum):
    """What becomes of the model; the value is by how much a loop's counter falls in each turn, where there is one."""

    DRIFT = None
    ERRORS = -1.0
    SLOW = 1.0
    HANG = 0.0


def make_late_bundle(path: Path, *, version: str, seed: int, failure: Failure, after: int) -> Manifest:
    """Write a bundle whose golden samples are right, and whose model answers them so for some time only."""
    manifest, blobs = models.make_manifest(version=version, seed=seed, variants=("tflite:float32",), batch=1)
    dense, (variant,) = models.Dense.random(seed), manifest.variants
    data = late_failure(dense.kernel, dense.bias, failure, after=after)
    del blobs[variant.blob]
    blobs[digest := sha256(data)] = data
    sizes = {one: Blob(size=len(content), media_type="application/octet-stream") for one, content in blobs.items()}
    manifest = replace(manifest, variants=(replace(variant, blob=digest),), blobs=sizes)
    write_bundle(path, manifest, blobs)
    return manifest


@dataclass
class Graph:
    """One subgraph under construction; tensors are numbers."""

    buffers: list[Any]
    codes: list[int]
    tensors: list[Any] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)

    def tensor(
        self, name: str, shape: Sequence[int], *, data: npt.NDArray[Any] | None = None, kind: str = "FLOAT32",
        variable: bool = False,
    ) -> int:  # fmt: skip
        buffer = 0
        if data is not None:
            self.buffers.append(schema.BufferT(data=np.frombuffer(data.tobytes(), np.uint8)))
            buffer = len(self.buffers) - 1
        self.tensors.append(
            schema.TensorT(
                shape=list(shape), shapeSignature=list(shape), type=getattr(schema.TensorType, kind), buffer=buffer,
                name=name, isVariable=variable, quantization=schema.QuantizationParametersT(),
            )
        )  # fmt: skip
        return len(self.tensors) - 1

    def constant(self, name: str, values: npt.ArrayLike) -> int:
        data = np.asarray(values, np.float32)
        return self.tensor(name, data.shape, data=data)

    def add(self, code: int, inputs: list[int], output: int | list[int], options: Any = None) -> None:
        if code not in self.codes:
            self.codes.append(code)
        kind = 0 if options is None else getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.operators.append(
            schema.OperatorT(
                opcodeIndex=self.codes.index(code), inputs=inputs,
                outputs=output if isinstance(output, list) else [output], builtinOptionsType=kind,
                builtinOptions=options,
            )
        )  # fmt: skip

    def finish(self, name: str, inputs: list[int], outputs: list[int]) -> Any:
        return schema.SubGraphT(
            tensors=self.tensors, inputs=inputs, outputs=outputs, operators=self.operators, name=name
        )


def late_failure(kernel: Floats, bias: Floats, failure: Failure, *, after: int, turns: int = 200_000) -> bytes:
    """Return `x @ kernel + bias` for batches of one, which fails after so many inferences, or then makes `turns`."""
    buffers: list[Any] = [schema.BufferT()]
    codes: list[int] = []
    main = Graph(buffers, codes)
    x = main.tensor(INPUT, (1, kernel.shape[0]))
    dense = main.tensor("dense", (1, kernel.shape[1]))
    weights = main.constant("kernel", np.ascontiguousarray(kernel.T))
    main.add(_OP.FULLY_CONNECTED, [x, weights, main.constant("bias", bias)], dense, schema.FullyConnectedOptionsT())
    over = _over(main, x, features=kernel.shape[0], after=after)
    out, subgraphs = _spoiled(main, dense, over, failure, width=kernel.shape[1], turns=turns)
    model = schema.ModelT(
        version=3,
        operatorCodes=[schema.OperatorCodeT(deprecatedBuiltinCode=c, builtinCode=c, version=1) for c in codes],
        subgraphs=[main.finish("main", [x], [out]), *subgraphs],
        buffers=buffers,
    )
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _over(main: Graph, x: int, *, features: int, after: int) -> int:
    """Return the tensor that is 1 once there were more than `after` inferences, 0 before."""
    count, above = main.tensor("count", (1, 1)), main.tensor("above", (1, 1))
    positive, over = main.tensor("positive", (1, 1)), main.tensor("over", (1, 1))
    state = main.tensor("state", (1, 1), variable=True)
    cell = [x, main.constant("in", np.zeros((1, features))), main.constant("again", [[1.0]])]
    main.add(_OP.RNN, [*cell, main.constant("one", [1.0]), state], count, schema.RNNOptionsT())
    main.add(_OP.SUB, [count, main.constant("after", [[float(after)]])], above, schema.SubOptionsT())
    main.add(_OP.RELU, [above], positive)
    main.add(_OP.RELU_N1_TO_1, [positive], over)
    return over


def _spoiled(main: Graph, dense: int, over: int, failure: Failure, *, width: int, turns: int) -> tuple[int, list[Any]]:
    out = main.tensor(OUTPUT, (1, width))
    if failure is Failure.DRIFT:
        main.add(_OP.ADD, [dense, over], out, schema.AddOptionsT())
        return out, []
    if failure is Failure.ERRORS:
        row, one = (
            main.tensor("row", (1, 1), kind="INT32"),
            main.tensor("shape", (1,), kind="INT32", data=np.array([1], np.int32)),
        )
        flat = main.tensor("flat", (1,), kind="INT32")
        main.add(_OP.CAST, [over], row, schema.CastOptionsT())
        main.add(_OP.RESHAPE, [row, one], flat, schema.ReshapeOptionsT())
        main.add(_OP.GATHER, [dense, flat], out, schema.GatherOptionsT())  # there is one row, number 0
        return out, []
    left, passed = main.tensor("left", (1,)), main.tensor("passed", (1, width))
    product, rounds = main.tensor("product", (1, 1)), main.tensor("rounds", (1,))
    shape = main.tensor("shape", (1,), kind="INT32", data=np.array([1], np.int32))
    main.add(_OP.MUL, [over, main.constant("turns", [[float(turns)]])], product, schema.MulOptionsT())
    main.add(_OP.RESHAPE, [product, shape], rounds, schema.ReshapeOptionsT())
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    main.add(_OP.WHILE, [rounds, dense], [left, passed], options)
    main.add(_OP.ADD, [passed, main.constant("nothing", [[0.0]])], out, schema.AddOptionsT())
    return out, [_condition(main, width), _body(main, width, step=failure.value or 0.0)]


def _condition(main: Graph, width: int) -> Any:
    graph = Graph(main.buffers, main.codes)
    left, passed = graph.tensor("left", (1,)), graph.tensor("passed", (1, width))
    goes_on = graph.tensor("goes_on", (1,), kind="BOOL")
    graph.add(_OP.GREATER, [left, graph.constant("half", [0.5])], goes_on, schema.GreaterOptionsT())
    return graph.finish("condition", [left, passed], [goes_on])


def _body(main: Graph, width: int, *, step: float) -> Any:
    graph = Graph(main.buffers, main.codes)
    left, passed = graph.tensor("left", (1,)), graph.tensor("passed", (1, width))
    fewer, same = graph.tensor("fewer", (1,)), graph.tensor("same", (1, width))
    graph.add(_OP.SUB, [left, graph.constant("step", [step])], fewer, schema.SubOptionsT())
    graph.add(_OP.ADD, [passed, graph.constant("nothing", [[0.0]])], same, schema.AddOptionsT())
    return graph.finish("body", [left, passed], [fewer, same])
