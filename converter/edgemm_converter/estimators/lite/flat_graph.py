"""A TFLite file as it is put together: tensors, operations in their order, one signature. Pure.

    graph = FlatGraph()
    rows = graph.given("input", np.float32, (1, 4))
    graph.file({"value": graph.add("EXP", [rows])})

Every operation is the first version of a builtin, which kernels of TensorFlow Lite have had since 1.14 or 2.2. The same
calls give the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

Shape = tuple[int, ...]
Array = npt.NDArray[Any]
_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "bool": schema.TensorType.BOOL,
}
_SIGNATURE, _DESCRIPTION = "serving_default", "edgemm"
_OLDEST, _VERSION_BYTES = "1.14.0", 16
_NEWER = {"SELECT_V2": "2.2.0"}
"""The runtime that first had an operation (tensorflow/lite/tools/versioning/runtime_version.cc), where it is newer."""


class NoBuiltinsError(Exception):
    """Something has no builtin operations here, or too many; says what."""


@dataclass(frozen=True, eq=False)
class Value:
    """One tensor; `constant` is what it holds, where it is no result of the input."""

    place: int
    dtype: str
    shape: Shape
    constant: Array | None = None


class FlatGraph:
    """The tensors and operations of a file."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._buffers: list[bytes] = [b""]
        self._operators: list[Any] = []
        self._kinds: list[str] = []
        self._inputs: dict[str, Value] = {}
        self._known: dict[tuple[str, Shape, bytes], Value] = {}

    @property
    def operations(self) -> tuple[str, ...]:
        """The kinds of its operations, in the order in which each first came."""
        return tuple(self._kinds)

    def given(self, name: str, dtype: Any, shape: Shape) -> Value:
        """Add an input."""
        self._inputs[name] = self._tensor(np.dtype(dtype).name, shape, name=name)
        return self._inputs[name]

    def constant(self, array: Any) -> Value:
        """Add a constant, or find it among those that there are."""
        found = np.asarray(array)
        data = np.ascontiguousarray(found).tobytes()
        key = (found.dtype.name, found.shape, hashlib.sha256(data).digest())
        if key not in self._known:
            self._buffers.append(data)
            self._known[key] = self._tensor(found.dtype.name, found.shape, buffer=len(self._buffers) - 1, array=found)
        return self._known[key]

    def add(
        self, kind: str, given: Sequence[Value], *, shape: Shape | None = None, dtype: Any = None, **options: Any
    ) -> Value:
        """Add an operation and return what it gives: of the first input's shape and dtype, where none is told."""
        made = self._tensor(
            np.dtype(dtype).name if dtype is not None else given[0].dtype,
            given[0].shape if shape is None else shape,
        )
        if kind not in self._kinds:
            self._kinds.append(kind)
        named, values = _options(kind, options, made)
        self._operators.append(
            schema.OperatorT(
                opcodeIndex=self._kinds.index(kind), inputs=[one.place for one in given], outputs=[made.place],
                builtinOptionsType=named, builtinOptions=values,
            )
        )  # fmt: skip
        return made

    def shaped(self, value: Value, shape: Shape) -> Value:
        """Return a value in another shape of as many elements."""
        if value.shape == shape:
            return value
        if value.constant is not None:
            return self.constant(value.constant.reshape(shape))
        return self._copied(value, shape)

    def called(self, value: Value, name: str) -> None:
        """Give a computed value the name of what it is in the source."""
        if value.constant is None and value.place not in {one.place for one in self._inputs.values()}:
            self._tensors[value.place].name = name

    def with_bias(self, value: Value, bias: Value) -> bool:
        """Give the fully connected layer that made a value a bias; tell whether it is one and has had none."""
        maker = self._operators[-1] if self._operators else None
        if maker is None or self._kinds[maker.opcodeIndex] != "FULLY_CONNECTED" or list(maker.outputs) != [value.place]:
            return False
        if len(maker.inputs) > 2:
            return False
        maker.inputs = [*maker.inputs, bias.place]
        return True

    def minimum_runtime(self) -> str:
        """Return the oldest TensorFlow Lite that has all operations."""
        found = (_NEWER.get(kind, _OLDEST) for kind in self._kinds)
        return max(found, key=lambda text: tuple(map(int, text.split("."))), default=_OLDEST)

    def file(self, outputs: Mapping[str, Value]) -> bytes:
        """Return the file that answers with these values by name."""
        named: dict[str, Value] = {}
        taken = {value.place for value in self._inputs.values()}
        for name, value in outputs.items():
            free = value.constant is None and value.place not in taken
            named[name] = value if free else self._copied(value, value.shape)
            taken.add(named[name].place)
            self._tensors[named[name].place].name = name
        graph = schema.SubGraphT(
            tensors=self._tensors, inputs=[one.place for one in self._inputs.values()],
            outputs=[one.place for one in named.values()], operators=self._operators, name="main",
        )  # fmt: skip
        version = self.minimum_runtime().encode().ljust(_VERSION_BYTES, b"\0")
        model = schema.ModelT(
            version=3, operatorCodes=[_code(kind) for kind in self._kinds], subgraphs=[graph],
            description=_DESCRIPTION, buffers=[_buffer(data) for data in (*self._buffers, version)],
            metadata=[schema.MetadataT(name="min_runtime_version", buffer=len(self._buffers))],
            signatureDefs=[
                schema.SignatureDefT(
                    inputs=_map(self._inputs), outputs=_map(named), signatureKey=_SIGNATURE, subgraphIndex=0
                )
            ],
        )  # fmt: skip
        builder = flatbuffers.Builder(4096)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _copied(self, value: Value, shape: Shape) -> Value:
        return self.add("RESHAPE", [value, self.constant(np.array(shape, np.int32))], shape=shape)

    def _tensor(
        self, dtype: str, shape: Shape, *, name: str = "", buffer: int = 0, array: Array | None = None
    ) -> Value:
        place = len(self._tensors)
        self._tensors.append(
            schema.TensorT(
                shape=list(shape), type=_TYPES[dtype], buffer=buffer, name=name or f"tensor_{place}",
                quantization=schema.QuantizationParametersT(),
            )
        )  # fmt: skip
        return Value(place, dtype, shape, array)


def _options(kind: str, given: Mapping[str, Any], made: Value) -> tuple[int, Any]:
    """Return the type and the table of an operation's options; comparisons and others have none."""
    if kind == "RESHAPE":
        given = {"newShape": list(made.shape)}
    elif kind == "ARG_MAX":
        given = {"outputType": _TYPES[made.dtype]}
    elif kind == "SOFTMAX":
        given = {"beta": 1.0}
    elif kind == "CAST":
        return 0, None
    words = "".join(part.capitalize() for part in kind.split("_"))
    words = {"Sum": "Reducer", "ReduceMax": "Reducer", "ReduceProd": "Reducer", "Mean": "Reducer"}.get(words, words)
    table = getattr(schema, f"{words}OptionsT", None)
    number = getattr(schema.BuiltinOptions, f"{words}Options", None)
    if table is None or number is None or kind in _PLAIN:
        return 0, None
    values = table()
    for name, value in given.items():
        setattr(values, name, value)
    return number, values


_PLAIN = ("EXP", "NEG", "ABS", "SELECT", "SELECT_V2", "POW", "SQUARE")


def _code(kind: str) -> Any:
    number = getattr(schema.BuiltinOperator, kind)
    return schema.OperatorCodeT(deprecatedBuiltinCode=number, builtinCode=number, version=1)


def _buffer(data: bytes) -> Any:
    return schema.BufferT(data=np.frombuffer(data, np.uint8)) if data else schema.BufferT()


def _map(values: Mapping[str, Value]) -> list[Any]:
    return [schema.TensorMapT(name=name, tensorIndex=value.place) for name, value in values.items()]
