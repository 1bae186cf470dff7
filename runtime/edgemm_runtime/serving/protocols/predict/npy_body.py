"""A body that is one array as `numpy.save` writes it. Pure."""

from __future__ import annotations

from edgemm.bundle.manifest import DType, Preprocessing, TensorSpec
from edgemm.errors import BadRequestError, BundleError
from edgemm_runtime.memory.memory_budget import hold
from edgemm_runtime.preprocessing import array_inputs
from edgemm_runtime.tensors import npy
from edgemm_runtime.tensors.element_types import most_size_of, numpy_dtype
from edgemm_runtime.tensors.named_arrays import Array

_MAGIC = b"\x93NUMPY"


def is_npy(body: bytes) -> bool:
    """Tell whether a body is such a file, whatever it says it is."""
    return body.startswith(_MAGIC)


def read(body: bytes, spec: TensorSpec, steps: Preprocessing | None) -> Array:
    """Return the array as an input.

    Raises:
        BadRequestError: damaged, or not what the input takes.
    """
    try:
        array = npy.read_npy(body, name="the body")
    except BundleError as err:
        raise BadRequestError(str(err)) from err
    text = spec.dtype is DType.STRING
    hold(most_size_of(array) if text else array.size * numpy_dtype(spec.dtype).itemsize)
    return array_inputs.of_array(array, spec, steps)
