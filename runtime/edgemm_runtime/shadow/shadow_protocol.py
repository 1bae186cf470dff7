"""The socket protocol between a serving process and its shadow's process: msgpack behind a length. Pure."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import msgspec
import numpy as np
from msgspec import Struct

from edgemm_runtime.shadow.agreement import Agreement
from edgemm_runtime.tensors.element_types import OBJECT
from edgemm_runtime.tensors.named_arrays import Array, Arrays

_LENGTH = struct.Struct("<I")
HEAD_BYTES = _LENGTH.size


class Tensor(Struct, frozen=True, array_like=True):
    """An array: NumPy's spelling of the dtype, shape, and the values row by row; strings are a msgpack list of them."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Sample(Struct, frozen=True, array_like=True):
    """One request and what the active model answered."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


class Burst(Struct, frozen=True, array_like=True):
    """Requests that the shadow is to answer one after the other."""

    samples: tuple[Sample, ...]


class Ready(Struct, frozen=True):
    """The shadow is loaded and answered its golden samples, or `error` (the name of its class) says why not."""

    error: str | None = None
    message: str = ""
    ranges: dict[str, float] = {}
    """What the errors of each output are a share of, where its values are compared."""


class BurstAnswer(Struct, frozen=True):
    """What came of a burst: `compared` and `errors` are samples, `message` is of the last error.

    `cpu_s` is what it took of the CPU, in all threads; less than the time that passed where others were let first.
    """

    compared: int
    errors: int
    cpu_s: float
    agreement: dict[str, Agreement] = {}
    message: str = ""


def pack(arrays: Arrays) -> dict[str, Tensor]:
    """Copy arrays."""
    return {name: Tensor(array.dtype.str, array.shape, _data(array)) for name, array in arrays.items()}


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    """Return the arrays, which may be read only."""
    return {name: _values(t).reshape(t.shape) for name, t in tensors.items()}


def _data(array: Array) -> bytes:
    return msgspec.msgpack.encode(array.ravel().tolist()) if array.dtype is OBJECT else array.tobytes()


def _values(tensor: Tensor) -> Array:
    if tensor.dtype == OBJECT.str:
        return np.array(msgspec.msgpack.decode(tensor.data, type=list[str]), OBJECT)
    return np.frombuffer(tensor.data, np.dtype(tensor.dtype))


def frame(message: Struct) -> bytes:
    """Return a message as it is sent."""
    body = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(body)) + body


def length(head: bytes) -> int:
    """Return how many bytes follow a head of `HEAD_BYTES`."""
    (found,) = _LENGTH.unpack(head)
    return int(found)
