"""Golden samples hold a small column beside large ones to a tolerance of its own."""

from itertools import pairwise

import numpy as np
import pytest

from edgemm.bundle.column_figures import MAX_COLUMNS
from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import DType, Precision, Quantization, Tolerance, Variant, VariantTensor
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import column_units, golden_tolerance
from edgemm_converter.judging.column_units import Span
from edgemm_runtime.tensors import comparison

RUNS = 16


def values(*scales: float) -> Array:
    found: Array = np.random.default_rng(0).normal(size=(RUNS, 1, len(scales))) * np.array(scales)
    return found.astype(np.float32)


def variant(precision: Precision, step: float | None = None) -> Variant:
    tensor = VariantTensor(
        name="y", tensor="t", dtype=DType.INT8 if step else DType.FLOAT32, shape=(1, 2),
        quantization=Quantization(scale=step, zero_point=0) if step else None,
    )  # fmt: skip
    return Variant(
        id=f"tflite:{precision}", engine=Engine.TFLITE, precision=precision, minimum_engine="2.1", blob="0" * 64,
        inputs=(), outputs=(tensor,),
    )  # fmt: skip


def tolerance(
    precision: Precision, source: Array, found: Array, *, step: float | None = None, moved: float = 0.0
) -> Tolerance:
    return golden_tolerance.tolerances(
        variant(precision, step), {"y": source}, {"y": found}, noise={},
        moved={"y": np.full(source.shape[1:], moved)}, spans={"y": column_units.spans(source)},
    )["y"]  # fmt: skip


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.FLOAT16, Precision.MIXED, Precision.INT8_WEIGHTS])
def test_a_column_that_became_constant_is_outside_of_it(precision: Precision) -> None:
    source = values(3000.0, 0.1)
    limits = tolerance(precision, source, source * np.float32(1 + 1e-6))
    assert [(c.axis, c.start, c.stop) for c in limits.columns or ()] == [(1, 1, 2)]
    found = source.copy()
    found[..., 1] = found[..., 1].mean()
    assert np.abs(found - source).max() < limits.max_abs
    beyond = [comparison.column_beyond(s, f, limits.columns or ()) for s, f in zip(source, found, strict=True)]
    assert any(beyond)
    assert comparison.column_beyond(source[0], source[0], limits.columns or ()) is None


def test_columns_of_about_one_size_have_none() -> None:
    source = values(1.0, 1.5, 0.8)
    assert not tolerance(Precision.FLOAT32, source, source).columns


def test_it_is_no_less_than_two_quantization_steps_or_than_noise() -> None:
    source = values(300.0, 0.1)
    assert not tolerance(Precision.INT8, source, source, step=8.0).columns
    [limit] = tolerance(Precision.FLOAT32, source, source, moved=1e-3).columns or ()
    assert limit.max_abs == pytest.approx(8e-3)


def test_neighbours_share_one_where_there_are_too_many() -> None:
    source = values(*([1e4] + [0.1, 0.1, 0.002] * 700))
    spans = tuple(Span(1, i, i + 1) for i in range(source.shape[-1]))
    found = golden_tolerance.tolerances(
        variant(Precision.FLOAT32), {"y": source}, {"y": source}, noise={}, spans={"y": spans}
    )["y"].columns
    assert found
    assert len(found) <= 256 < MAX_COLUMNS
    assert (found[0].start, found[-1].stop) == (1, source.shape[-1])
    assert all(a.stop == b.start for a, b in pairwise(found))
