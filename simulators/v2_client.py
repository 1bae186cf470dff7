"""Requests of the Open Inference Protocol v2 as a client writes them."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from edgemm.bundle.manifest import DType
from edgemm_runtime.serving.protocols.v2.messages import DATATYPES
from edgemm_runtime.tensors.named_arrays import Arrays


def encode_request(
    inputs: Arrays, *, binary: bool = False, nested: bool = False, request_id: str | None = None
) -> tuple[bytes, int | None]:
    """Return the body, and the length of its JSON part where tensors follow it."""
    listed: list[dict[str, Any]] = []
    tensors: list[bytes] = []
    for name, array in inputs.items():
        tensor: dict[str, Any] = {"name": name, "shape": array.shape, "datatype": DATATYPES[DType(array.dtype.name)]}
        if binary:
            tensors.append(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes())
            tensor["parameters"] = {"binary_data_size": len(tensors[-1])}
        else:
            tensor["data"] = array.tolist() if nested else array.ravel().tolist()
        listed.append(tensor)
    message: dict[str, Any] = {"inputs": listed, "parameters": {"binary_data_output": binary}}
    header = msgspec.json.encode(message if request_id is None else message | {"id": request_id})
    return b"".join([header, *tensors]), len(header) if binary else None
