"""A tiny stateful bundle: a file that keeps a state between inferences, written without TensorFlow.

    manifest = make_bundle(tmp_path / "wake-1.0.0.edgemm")

`state = state ÷ 2 + x @ kernel`, and `score = state` too: float32[1, 4] → float32[1, 3]. The state is a resource
variable that begins at .25, as in a streaming wake word; or the variable tensor of an SVDF layer, which begins at 0.
NumPy computes the golden samples, which are one sequence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgemm.bundle import write_bundle
from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import (
    FORMAT,
    Blob,
    DType,
    GoldenSamples,
    Lineage,
    Manifest,
    Precision,
    Signature,
    TensorSpec,
    Tolerance,
    Variant,
    VariantTensor,
)
from edgemm_runtime.tensors.npy import write_npy
from simulators.tflite import Floats

INPUT, OUTPUT = "x", "score"
FEATURES, UNITS = 4, 3
FIRST = 0.25
"""The state that a fresh interpreter begins with."""
VARIANT = "tflite:float32"
SIGNATURE = Signature(
    inputs=(TensorSpec(name=INPUT, dtype=DType.FLOAT32, shape=(1, FEATURES)),),
    outputs=(TensorSpec(name=OUTPUT, dtype=DType.FLOAT32, shape=(1, UNITS)),),
)
_FLOAT, _RESOURCE = schema.TensorType.FLOAT32, schema.TensorType.RESOURCE


def kernel(seed: int = 0) -> Floats:
    """Return the weights of one file, float32[4, 3]."""
    return np.random.default_rng(seed).normal(size=(FEATURES, UNITS)).astype(np.float32)


def predict(x: Floats, *, seed: int = 0) -> Floats:
    """Compute the scores of a whole sequence by NumPy, float32[steps, 1, 4] → float32[steps, 1, 3]."""
    weights, state = kernel(seed), np.full((1, UNITS), FIRST, np.float32)
    scores = []
    for step in x:
        state = (state * np.float32(0.5) + step @ weights).astype(np.float32)
        scores.append(state)
    return np.stack(scores)


def steps(count: int, *, seed: int = 1) -> Floats:
    """Return inputs of a sequence, float32[count, 1, 4]."""
    return np.random.default_rng(seed).uniform(-1, 1, size=(count, 1, FEATURES)).astype(np.float32)


def with_resource_variable(*, seed: int = 0, written: bool = True, noisy: bool = False, batch: int = 1) -> bytes:
    """Return the file; where its state is not `written`, it is only read, as weights in a variable are.

    With `noisy`, it remembers with each input random numbers, which begin elsewhere in each interpreter. A `batch` is
    1, or −1 for any.
    """
    made = _File()
    x, handle = made.tensor(INPUT, (batch, FEATURES)), made.tensor("handle", (), kind=_RESOURCE)
    weights, half = made.constant("kernel", kernel(seed).T), made.constant("half", np.full((1, UNITS), 0.5, "f4"))
    state, kept, new, score = (made.tensor(name, (batch, UNITS)) for name in ("state", "kept", "new", OUTPUT))
    operations = [
        made.operation("CALL_ONCE", [], [], schema.CallOnceOptionsT(initSubgraphIndex=1)),
        made.variable(handle),
        made.operation("READ_VARIABLE", [handle], [state], schema.ReadVariableOptionsT()),
        made.operation("MUL", [state, half], [kept], schema.MulOptionsT()),
        made.operation("FULLY_CONNECTED", [x, weights, -1], [new], schema.FullyConnectedOptionsT()),
        made.operation("ADD", [kept, new], [score], schema.AddOptionsT()),
    ]
    if noisy:
        shape = made.constant("shape", np.array([1, UNITS], np.int32))
        random, kept = (made.tensor(name, (1, UNITS)) for name in ("random", "noisy"))
        operations += [
            made.operation("RANDOM_UNIFORM", [shape], [random], schema.RandomOptionsT()),
            made.operation("ADD", [score, random], [kept], schema.AddOptionsT()),
        ]
    if written:
        remembered = kept if noisy else score
        operations.append(made.operation("ASSIGN_VARIABLE", [handle, remembered], [], schema.AssignVariableOptionsT()))
    made.end_graph("main", operations, [x], [score])
    first, again = made.constant("first", np.full((1, UNITS), FIRST, "f4")), made.tensor("h", (), kind=_RESOURCE)
    assign = made.operation("ASSIGN_VARIABLE", [again, first], [], schema.AssignVariableOptionsT())
    made.end_graph("init", [made.variable(again), assign], [], [])
    return made.packed()


def with_variable_tensor(*, seed: int = 0, memory: int = 5) -> bytes:
    """Return an SVDF layer, which remembers its last inputs in a tensor that is marked as a variable."""
    made = _File()
    x, score = made.tensor(INPUT, (1, FEATURES)), made.tensor(OUTPUT, (1, UNITS))
    features = made.constant("features", kernel(seed).T)
    time = made.constant("time", np.random.default_rng(seed + 1).normal(size=(UNITS, memory)).astype("f4"))
    state = made.tensor("state", (1, memory * UNITS), variable=True)
    options = schema.SVDFOptionsT(rank=1)
    made.end_graph("main", [made.operation("SVDF", [x, features, time, -1, state], [score], options)], [x], [score])
    return made.packed()


def make_manifest(
    *, name: str = "wake", version: str = "1.0.0", seed: int = 0, samples: int = 8, batch: int = 1
) -> tuple[Manifest, dict[str, bytes]]:
    """Return a manifest and its blobs by digest."""
    x = steps(samples, seed=seed + 1)
    contents = [with_resource_variable(seed=seed, batch=batch), write_npy(x), write_npy(predict(x, seed=seed))]
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    tensors = [
        VariantTensor(name=spec.name, tensor=spec.name, dtype=spec.dtype, shape=(batch, *spec.shape[1:]))
        for spec in (*SIGNATURE.inputs, *SIGNATURE.outputs)
    ]
    served = [TensorSpec(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape) for tensor in tensors]
    manifest = Manifest(
        format=FORMAT,
        name=name,
        version=version,
        minimum_runtime="0.2.0",
        signature=Signature(inputs=(served[0],), outputs=(served[1],)),
        variants=(
            Variant(
                id=VARIANT, engine=Engine.TFLITE, precision=Precision.FLOAT32, minimum_engine="0.2.14.0",
                blob=digests[0], inputs=(tensors[0],), outputs=(tensors[1],),
            ),
        ),
        golden=GoldenSamples(
            samples=samples, inputs={INPUT: digests[1]}, outputs={OUTPUT: digests[2]},
            tolerance={VARIANT: {OUTPUT: Tolerance(max_abs=1e-5)}},
        ),
        parity=(),
        lineage=Lineage(
            source_name="wake.tflite", source_digest=digests[0], source_format="tflite", libraries={}, options={}
        ),
        blobs={
            d: Blob(size=len(c), media_type="application/octet-stream") for d, c in zip(digests, contents, strict=True)
        },
        stateful=True,
    )  # fmt: skip
    return manifest, dict(zip(digests, contents, strict=True))


def make_bundle(
    path: Path, *, name: str = "wake", version: str = "1.0.0", seed: int = 0, samples: int = 8, batch: int = 1
) -> Manifest:
    """Write the bundle file and return its manifest."""
    manifest, blobs = make_manifest(name=name, version=version, seed=seed, samples=samples, batch=batch)
    write_bundle(path, manifest, blobs)
    return manifest


class _File:
    """A TFLite file in the making: one subgraph after the other."""

    def __init__(self) -> None:
        self._buffers, self._codes, self._graphs = [schema.BufferT()], list[str](), list[schema.SubGraphT]()
        self._tensors: list[schema.TensorT] = []

    def tensor(
        self, name: str, shape: Sequence[int], *, kind: int = _FLOAT, buffer: int = 0, variable: bool = False
    ) -> int:
        """Add a tensor to the current graph and return its index."""
        self._tensors.append(
            schema.TensorT(
                name=name, shape=[abs(size) for size in shape], type=kind, buffer=buffer, isVariable=variable,
                shapeSignature=list(shape) if -1 in shape else None, quantization=schema.QuantizationParametersT(),
            )
        )  # fmt: skip
        return len(self._tensors) - 1

    def constant(self, name: str, values: Floats | npt.NDArray[np.int32]) -> int:
        """Add a tensor of these values."""
        data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._buffers.append(schema.BufferT(data=data))
        kind = _FLOAT if values.dtype == np.float32 else schema.TensorType.INT32
        return self.tensor(name, values.shape, kind=kind, buffer=len(self._buffers) - 1)

    def variable(self, handle: int) -> schema.OperatorT:
        """Return the operation that gives the handle of the one variable."""
        return self.operation("VAR_HANDLE", [], [handle], schema.VarHandleOptionsT(container="", sharedName="state"))

    def operation(self, kind: str, inputs: Sequence[int], outputs: Sequence[int], options: object) -> schema.OperatorT:
        """Return an operation of the current graph."""
        if kind not in self._codes:
            self._codes.append(kind)
        return schema.OperatorT(
            opcodeIndex=self._codes.index(kind), inputs=list(inputs), outputs=list(outputs),
            builtinOptionsType=getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T")),
            builtinOptions=options,
        )  # fmt: skip

    def end_graph(self, name: str, operations: list[schema.OperatorT], inputs: list[int], outputs: list[int]) -> None:
        """Close the current graph; the next tensor is of another one."""
        self._graphs.append(
            schema.SubGraphT(tensors=self._tensors, operators=operations, inputs=inputs, outputs=outputs, name=name)
        )
        self._tensors = []

    def packed(self) -> bytes:
        """Return the file."""
        numbers = [getattr(schema.BuiltinOperator, kind) for kind in self._codes]
        codes = [schema.OperatorCodeT(deprecatedBuiltinCode=min(n, 127), builtinCode=n, version=1) for n in numbers]
        model = schema.ModelT(version=3, operatorCodes=codes, subgraphs=self._graphs, buffers=self._buffers)
        builder = flatbuffers.Builder(4096)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
