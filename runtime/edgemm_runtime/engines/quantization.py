"""Between the signature's values and those of a variant's file: affine quantization, rounding and saturation.

* real = (integer − zero_point) × scale, per tensor;
* quantizing divides in float32, rounds to nearest with halves away from zero (as TFLite's reference kernels do),
  and saturates at the ends of the integer type; infinities saturate, NaN is refused;
* dequantizing multiplies in float64 and rounds once, to the signature's type.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgemm.errors import BadRequestError
from edgemm.manifest import DType, Quantization, VariantTensor
from edgemm_runtime.engines.model import Array


def to_file(values: Array, tensor: VariantTensor) -> Array:
    """Return an input as the file's tensor takes it.

    Raises:
        BadRequestError: NaN, for a tensor of integers.
    """
    dtype = np.dtype(tensor.dtype.value)
    if tensor.quantization is not None:
        return _ranked(_quantize(values, tensor, dtype=dtype, quantization=tensor.quantization))
    if values.dtype == dtype:
        return values
    return _ranked(_cast(values, dtype, name=tensor.name))


def from_file(values: Array, tensor: VariantTensor, *, dtype: DType) -> Array:
    """Return an output in the signature's `dtype`."""
    wanted = np.dtype(dtype.value)
    if tensor.quantization is not None:
        steps = values.astype(np.int64) - tensor.quantization.zero_point
        return _ranked(_cast(steps * tensor.quantization.scale, wanted, name=tensor.name))
    if values.dtype == wanted:
        return values
    return _ranked(_cast(values, wanted, name=tensor.name))


def _ranked(values: Array) -> Array:
    """Return an array also where NumPy's arithmetic made a scalar out of an array of rank 0."""
    return np.asarray(values)


def _quantize(values: Array, tensor: VariantTensor, *, dtype: np.dtype[Any], quantization: Quantization) -> Array:
    with np.errstate(over="ignore"):
        scaled = values.astype(np.float32) / np.float32(quantization.scale)
    return _round(scaled, dtype, name=tensor.name, offset=quantization.zero_point)


def _cast(values: Array, dtype: np.dtype[Any], *, name: str) -> Array:
    if dtype.kind in "iu" and values.dtype.kind == "f":
        return _round(values, dtype, name=name, offset=0)
    if dtype.kind in "iu" and values.dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        return np.clip(values, bounds.min, bounds.max).astype(dtype)
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def _round(values: Array, dtype: np.dtype[Any], *, name: str, offset: int) -> Array:
    """Return floats + `offset` as integers: halves away from zero, saturated."""
    real = values.astype(np.float64)
    if np.isnan(real).any():
        raise BadRequestError(f"{name}: NaN in a tensor that this variant computes in {dtype}: send finite numbers")
    bounds = np.iinfo(dtype)
    # Half a unit added to a float32 is exact in float64, so cutting off what is behind the point rounds rightly.
    away = real + np.copysign(0.5, real)
    rounded = np.trunc(np.minimum(np.maximum(away, bounds.min - offset), bounds.max - offset)) + offset
    if dtype.itemsize < 8:
        return rounded.astype(dtype)
    with np.errstate(invalid="ignore"):
        # The largest 64-bit integer is no float64: its neighbour above does not fit and is put right here.
        found: Array = np.where(rounded >= float(bounds.max), dtype.type(bounds.max), rounded.astype(dtype))
    return found
