"""Arrays of files as inputs, and a body that is one array as `numpy.save` writes it. Pure."""

from __future__ import annotations

import numpy as np

from edgemm.bundle.manifest import Preprocessing, TensorSpec
from edgemm.errors import BadRequestError, BundleError
from edgemm_runtime.memory.memory_budget import hold
from edgemm_runtime.preprocessing import class_indices, image_inputs
from edgemm_runtime.serving.protocols.predict import codec as predict_codec
from edgemm_runtime.tensors import npy
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
    hold(array.size * np.dtype(spec.dtype.value).itemsize)
    return of_array(array, spec, steps)


def of_array(array: Array, spec: TensorSpec, steps: Preprocessing | None) -> Array:
    """Return a file's array as an input; pixels stand for an input that is made of images.

    Raises:
        BadRequestError: it is not what the input takes.
    """
    if image_inputs.takes_images(steps) and (frames := image_inputs.frames_in(array, spec, steps)) is not None:
        return image_inputs.of_frames(frames, spec, steps)
    return predict_codec.batched(class_indices.rows(_same_kind(array, spec), spec, steps), spec)


def _same_kind(array: Array, spec: TensorSpec) -> Array:
    """Return a file's array in the input's dtype where that is the same kind of number: NumPy saves float64."""
    if np.can_cast(array.dtype, spec.dtype.value, casting="same_kind"):
        with np.errstate(over="ignore"):
            return array.astype(spec.dtype.value)
    return array
