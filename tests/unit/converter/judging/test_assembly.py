"""What becomes of measurements on edge inputs in a manifest."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from edgemm.bundle.manifest import DType, Precision, Variant, VariantTensor
from edgemm.errors import ParityError
from edgemm_converter.children.protocol import KnownUnits, SampleSet, SetKind
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import assembly, golden_assembly
from edgemm_converter.judging.assembly import BlobStore, Measured
from edgemm_runtime.tensors.npy import read_npy

TENSOR = (VariantTensor(name="y", tensor="y", dtype=DType.FLOAT32, shape=(-1, 2)),)
VARIANT = Variant(
    id="tflite:float32", engine="tflite", precision=Precision.FLOAT32, minimum_engine="2.0.0", blob="a" * 64,
    inputs=TENSOR, outputs=TENSOR,
)  # fmt: skip
USUAL = np.random.default_rng(1).normal(size=(12, 1, 2)).astype(np.float32)
EDGES = np.array([[[0, 0]], [[1000, 1000]]], np.float32)


def measured(kind: SetKind, values: Array, found: Array, *, names: tuple[str, ...] = ()) -> Measured:
    runs = len(values)
    given = SampleSet(
        id=kind, kind=kind, runs=runs, samples=runs, inputs={}, outputs={}, names=names, families=names
    )  # fmt: skip
    return Measured(given, {"x": values}, {"y": values}, {VARIANT.id: {"y": found}}, {"y": np.zeros(values.shape)})


ORDINARY = measured(SetKind.RANDOM, USUAL, USUAL)


def edge(found: Array) -> Measured:
    return measured(SetKind.EDGE, EDGES, found, names=("all zeros", "all at 1000"))


def test_a_variant_that_is_wrong_on_an_edge_input_fails_and_parity_has_no_entry_for_it() -> None:
    assembly.judge_edges([VARIANT], [ORDINARY, edge(EDGES)])
    assert [run.data for run in assembly.compared([VARIANT], [ORDINARY, edge(EDGES)])] == ["random, batch 1"]
    with pytest.raises(ParityError, match=r"^tflite:float32, output 'y': on the edge input 'all at 1000'"):
        assembly.judge_edges([VARIANT], [ORDINARY, edge(np.where(EDGES > 0, np.inf, EDGES))])


def test_edge_inputs_are_the_last_golden_samples_and_widen_no_tolerance() -> None:
    blobs = BlobStore()
    plain = golden_assembly.golden_samples([VARIANT], ORDINARY, blobs)
    found = golden_assembly.golden_samples([VARIANT], ORDINARY, blobs, edge=edge(EDGES))
    inputs = read_npy(blobs.content[found.inputs["x"]], name="x")
    assert (plain.samples, found.samples, len(inputs)) == (12, 13, 13)
    assert not inputs[-1].any()
    assert found.tolerance[VARIANT.id]["y"].max_abs == pytest.approx(plain.tolerance[VARIANT.id]["y"].max_abs)


@pytest.mark.parametrize("too_large", [False, True])
def test_golden_samples_are_of_random_inputs_where_the_users_data_are_too_large(too_large: bool) -> None:
    def wide(kind: SetKind, inputs: Array) -> Measured:
        return replace(measured(kind, USUAL, USUAL), inputs={"x": inputs})

    real = np.random.default_rng(0).standard_normal((12, 1, 200_000 if too_large else 100))
    blobs = BlobStore()
    found = golden_assembly.golden_samples(
        [VARIANT], wide(SetKind.CALIBRATION, real), blobs, otherwise=wide(SetKind.RANDOM, np.zeros_like(real))
    )
    if too_large:
        assert found.deflated == ("x",)
    else:
        assert np.array_equal(read_npy(blobs.content[found.inputs["x"]], name="x"), real)
    assert sum(blob.size for blob in blobs.listed.values()) <= 256 * 1024


def test_a_sigmoid_near_zero_is_held_to_what_rounding_around_one_leaves() -> None:
    small = 1e-6 * np.random.default_rng(1).random((12, 1, 2))
    given = measured(SetKind.RANDOM, small.astype(np.float32), (small + 2e-8).astype(np.float32))
    with pytest.raises(ParityError, match="the max error on random data"):
        assembly.compared([VARIANT], [given])
    known = replace(given, units={"y": KnownUnits(axis=None, of_one=(True,))})
    assembly.compared([VARIANT], [known])
    tolerance = golden_assembly.golden_samples([VARIANT], known, BlobStore()).tolerance[VARIANT.id]["y"]
    assert tolerance.max_abs > 1e-7


def test_a_quantized_variant_is_off_as_a_whole_where_no_column_tells() -> None:
    rows = np.random.default_rng(1).dirichlet(np.full(50, 0.05), size=(40, 1)).astype(np.float32)
    int8 = msgspec.structs.replace(VARIANT, precision=Precision.INT8)
    [text] = assembly.faults(int8, [measured(SetKind.RANDOM, rows, rows[::-1])], whole=False).values()
    assert "the root mean square of the error" in text
    assert assembly.faults(int8, [measured(SetKind.RANDOM, rows, rows)], whole=True) == {}


@pytest.mark.parametrize("whole", [False, True])
def test_a_mean_error_over_its_limit_is_a_fault_where_nobody_asked_for_the_variant(*, whole: bool) -> None:
    int8 = msgspec.structs.replace(VARIANT, precision=Precision.INT8)
    values = np.random.default_rng(1).uniform(0, 1, (40, 1, 1)).astype(np.float32)
    given = replace(measured(SetKind.RANDOM, values, 1 - values), units={"y": KnownUnits(axis=None)})
    found = assembly.faults(int8, [given], whole=whole)
    assert bool(found) is whole
    assert not whole or "the mean error on random data is" in found["y"]
