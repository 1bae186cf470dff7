"""Quantization follows TFLite's reference: real = (integer − zero_point) × scale, halves away from zero."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm.bundle.manifest import DType, Quantization, VariantTensor
from edgemm_runtime.tensors import affine as quantization


def tensor(dtype: DType, *, scale: float | None = None, zero_point: int = 0) -> VariantTensor:
    affine = None if scale is None else Quantization(scale=scale, zero_point=zero_point)
    return VariantTensor(name="x", tensor="x", dtype=dtype, shape=(-1,), quantization=affine)


@pytest.mark.parametrize(
    ("real", "integer"),
    [(0.0, 10), (0.5, 11), (1.5, 12), (2.5, 13), (-0.5, 9), (-1.5, 8), (0.49999997, 10), (1e9, 127), (-1e9, -128)],
)
def test_halves_go_away_from_zero_and_the_ends_saturate(real: float, integer: int) -> None:
    found = quantization.to_file(np.array([real], np.float32), tensor(DType.INT8, scale=1.0, zero_point=10))
    assert (found.dtype, found[0]) == (np.dtype(np.int8), integer)


@given(st.sampled_from([DType.INT8, DType.UINT8, DType.INT16]), st.floats(1e-6, 1e3), st.integers(-128, 127), st.data())
def test_a_representable_value_comes_back_within_half_a_step(
    dtype: DType, scale: float, zero_point: int, data: st.DataObject
) -> None:
    bounds = np.iinfo(dtype.value)
    zero_point = int(np.clip(zero_point, bounds.min, bounds.max))
    steps = data.draw(st.integers(bounds.min, bounds.max)) - zero_point
    real = np.array([steps * scale], np.float32)
    spec = tensor(dtype, scale=scale, zero_point=zero_point)
    back = quantization.from_file(quantization.to_file(real, spec), spec, dtype=DType.FLOAT32)
    assert abs(float(back[0]) - float(real[0])) <= scale * 0.5 + abs(float(real[0])) * 1e-6


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        (DType.INT32, 2**40, 2**31 - 1),
        (DType.INT32, -(2**40), -(2**31)),
        (DType.UINT8, -1, 0),
        (DType.INT64, 5, 5),
    ],
)
def test_integers_saturate_in_a_narrower_file(dtype: DType, value: int, expected: int) -> None:
    assert quantization.to_file(np.array([value]), tensor(dtype))[0] == expected


def test_the_largest_floats_stay_inside_64_bit_integers() -> None:
    found = quantization.to_file(np.array([np.inf, -np.inf, 1e30], np.float32), tensor(DType.INT64))
    assert found.tolist() == [2**63 - 1, -(2**63), 2**63 - 1]
