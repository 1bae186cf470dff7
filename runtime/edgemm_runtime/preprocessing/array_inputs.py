"""The inputs that are made of arrays, of a file or of a program. Pure."""

from __future__ import annotations

import numpy as np

from edgemm.bundle.manifest import DType, Preprocessing, TensorSpec
from edgemm.errors import BadRequestError
from edgemm_runtime.preprocessing import class_indices, image_inputs
from edgemm_runtime.tensors.inputs import batched
from edgemm_runtime.tensors.named_arrays import Array
from edgemm_runtime.tensors.numbers import to_array


def of_array(array: Array, spec: TensorSpec, steps: Preprocessing | None) -> Array:
    """Return an array as an input; pixels stand for an input that is made of images.

    Numbers of another dtype are taken where that holds them, as float64 and integers for float32, and none is out of
    range. A single sample may lack the batch.

    Raises:
        BadRequestError: it is not what the input takes.
    """
    if spec.dtype is DType.STRING:
        return batched(to_array(array, spec), spec)
    same = array.dtype == np.dtype(spec.dtype.value)
    if image_inputs.takes_images(steps):
        if (frames := image_inputs.frames_in(array, spec, steps)) is not None:
            return image_inputs.of_frames(frames, spec, steps)
        if array.dtype.kind in "iu" and not same:  # pixels of another depth would be numbers of another scale
            raise BadRequestError(f"input {spec.name!r}: expected {spec.dtype}, or uint8 pixels, found {array.dtype}")
    return batched(class_indices.rows(array if same else to_array(array, spec), spec, steps), spec)
