"""Conversion between a signature's values and a variant's: affine quantization, rounding and saturation.

* real = (integer − zero_point) × scale, per tensor;
* quantizing divides in float32, rounds to nearest with halves away from zero (as TFLite's reference kernels do),
  and saturates at the ends of the integer type; infinities saturate, NaN is refused;
* strings are as they are, in the signature and in the file;
* dequantizing multiplies in float64 and rounds once, to the signature's type.

Most quantized files take integers of 8 and 16 bits. These have a faster way: eight passes over the values in float32,
where the general one takes twenty in float64. What leaves an 8-bit tensor is looked up in a table of its 256 values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from edgemm.bundle.manifest import DType, Quantization, VariantTensor
from edgemm.errors import BadRequestError
from edgemm_runtime.tensors.element_types import numpy_dtype
from edgemm_runtime.tensors.named_arrays import Array

Cast: TypeAlias = Callable[[Array], Array]
_NARROW = {np.dtype(np.int8), np.dtype(np.uint8), np.dtype(np.int16)}
_ALMOST_HALF = np.nextafter(np.float32(0.5), np.float32(0))
"""With a value's sign it rounds halves away from zero; 0.5 would round 0.49999997 up, for the sum is no float32."""


def input_cast(tensor: VariantTensor) -> Cast:
    """Return `to_file` of one tensor, with all prepared that does not depend on the values."""
    stored = numpy_dtype(tensor.dtype)
    if tensor.quantization is not None and stored in _NARROW:
        return partial(_quantize_narrow, tensor=tensor, quantization=tensor.quantization)
    if tensor.quantization is None:
        return lambda values: values if values.dtype is stored else to_file(values, tensor)
    return partial(to_file, tensor=tensor)


def output_cast(tensor: VariantTensor, *, dtype: DType) -> Cast:
    """Return `from_file` of one tensor, with all prepared that does not depend on the values."""
    stored = numpy_dtype(tensor.dtype)
    wanted = numpy_dtype(dtype)
    if tensor.quantization is None:
        return lambda values: values if values.dtype is wanted else from_file(values, tensor, dtype=dtype)
    if stored.itemsize > 1 or stored.kind not in "iu":
        return partial(from_file, tensor=tensor, dtype=dtype)
    # In the order of the bytes: an int8 is looked up by the uint8 that has its bits.
    table = from_file(np.arange(256, dtype=np.uint8).view(stored), tensor, dtype=dtype)
    return lambda values: _ranked(table[values.view(np.uint8)])


def to_file(values: Array, tensor: VariantTensor) -> Array:
    """Return an input as the file's tensor takes it.

    Raises:
        BadRequestError: NaN, for a tensor of integers.
    """
    dtype = numpy_dtype(tensor.dtype)
    if tensor.quantization is not None:
        return _ranked(_quantize(values, tensor, dtype=dtype, quantization=tensor.quantization))
    if values.dtype == dtype:
        return values
    return _ranked(_cast(values, dtype, name=tensor.name))


def from_file(values: Array, tensor: VariantTensor, *, dtype: DType) -> Array:
    """Return an output in the signature's `dtype`."""
    wanted = numpy_dtype(dtype)
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


def _quantize_narrow(values: Array, *, tensor: VariantTensor, quantization: Quantization) -> Array:
    """Do what `_quantize` does for integers of at most 16 bits."""
    dtype = np.dtype(tensor.dtype.value)
    bounds, zero = np.iinfo(dtype), quantization.zero_point
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.asarray(np.divide(values, np.float32(quantization.scale), dtype=np.float32))
    np.minimum(steps, np.float32(bounds.max - zero), out=steps)
    np.maximum(steps, np.float32(bounds.min - zero), out=steps)
    flat = steps.reshape(-1)
    # All that is left is finite but NaN, which a sum of squares keeps.
    if np.isnan(np.dot(flat, flat)):
        raise _no_number(tensor.name, dtype)
    steps += np.copysign(_ALMOST_HALF, steps)
    np.trunc(steps, out=steps)
    steps += np.float32(zero)
    return np.asarray(steps.astype(dtype))


def _no_number(name: str, dtype: np.dtype[Any]) -> BadRequestError:
    return BadRequestError(f"{name}: NaN in a tensor that this variant computes in {dtype}: send finite numbers")


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
        raise _no_number(name, dtype)
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
