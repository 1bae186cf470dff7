"""Requests of the Open Inference Protocol v2 as a client writes them."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from edgemm_runtime.serving.protocols.v2.messages import DATATYPES
from edgemm_runtime.tensors.element_types import dtype_of
from edgemm_runtime.tensors.named_arrays import Array, Arrays


def encode_request(
    inputs: Arrays, *, binary: bool = False, nested: bool = False, request_id: str | None = None
) -> tuple[bytes, int | None]:
    """Return the body, and the length of its JSON part where tensors follow it."""
    listed: list[dict[str, Any]] = []
    tensors: list[bytes] = []
    for name, array in inputs.items():
        tensor: dict[str, Any] = {"name": name, "shape": array.shape, "datatype": DATATYPES[dtype_of(array)]}
        if binary:
            tensors.append(_elements(array) if array.dtype == object else _numbers(array))
            tensor["parameters"] = {"binary_data_size": len(tensors[-1])}
        else:
            tensor["data"] = array.tolist() if nested else array.ravel().tolist()
        listed.append(tensor)
    message: dict[str, Any] = {"inputs": listed, "parameters": {"binary_data_output": binary}}
    header = msgspec.json.encode(message if request_id is None else message | {"id": request_id})
    return b"".join([header, *tensors]), len(header) if binary else None


def _numbers(array: Array) -> bytes:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


def _elements(array: Array) -> bytes:
    """Return strings as the protocol has them: each its length in four bytes, little-endian, and its UTF-8."""
    texts = [text.encode() for text in array.ravel().tolist()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
