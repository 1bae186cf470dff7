"""Variants on edge inputs: what is held against them, and what is not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edgemm.bundle.manifest import DType, Precision, Variant, VariantTensor
from edgemm.errors import ParityError
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import edges
from edgemm_converter.judging.edge_limits import EdgeRuns, Ordinary

RNG = np.random.default_rng(3)
USUAL = RNG.normal(size=(12, 1, 4)).astype(np.float32)
ORDINARY = Ordinary({"x": USUAL}, {"y": USUAL}, {})
NAMES, FAMILIES = ("all zeros", "±1000", "all at 0.5"), ("zeros", "1000", "1")
GIVEN = np.array([[[0, 0, 0, 0]], [[1000, -1000, 1000, -1000]], [[0.5, 0.5, 0.5, 0.5]]], np.float32)


def variant(precision: Precision = Precision.FLOAT32) -> Variant:
    tensors = (VariantTensor(name="y", tensor="y", dtype=DType.FLOAT32, shape=(-1, 4)),)
    return Variant(
        id=f"tflite:{precision}", engine="tflite", precision=precision, minimum_engine="2.0.0", blob="a" * 64,
        inputs=tensors, outputs=tensors,
    )  # fmt: skip


def judge(
    source: Array, found: Array, precision: Precision = Precision.FLOAT32, *,
    moved: Array | None = None, given: Array = GIVEN, ordinary: Ordinary = ORDINARY,
) -> None:  # fmt: skip
    still = np.zeros(source.shape) if moved is None else moved
    runs = EdgeRuns(NAMES, FAMILIES, {"x": given}, {"y": source}, {"y": still})
    edges.judge(variant(precision), runs, {"y": found}, ordinary=ordinary)


def changed(source: Array, place: tuple[int, ...], value: float) -> Array:
    found = source.copy()
    found[place] = value
    return found


@pytest.mark.parametrize("precision", list(Precision.__members__.values()))
def test_the_same_answers_pass(precision: Precision) -> None:
    judge(GIVEN, GIVEN, precision)


@pytest.mark.parametrize("precision", list(Precision.__members__.values()))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_where_the_source_answers_one_fails_at_every_precision(
    precision: Precision, bad: float
) -> None:
    with pytest.raises(
        ParityError, match=r"output 'y': on the edge input '±1000' the source answers -1000 at \[0, 1\]"
    ):
        judge(GIVEN, changed(GIVEN, (1, 0, 1), bad), precision)


@pytest.mark.parametrize(("source", "found"), [(np.nan, 0), (np.inf, -np.inf), (np.inf, np.nan), (-np.inf, 3)])
def test_where_the_source_answers_no_number_float32_answers_the_same(source: float, found: float) -> None:
    expected = changed(GIVEN, (1, 0, 1), source)
    judge(expected, expected)
    with pytest.raises(ParityError, match="expected the same kind of number"):
        judge(expected, changed(GIVEN, (1, 0, 1), found))


def test_nan_may_spread_to_neighbours_of_the_sources_own() -> None:
    expected = changed(GIVEN, (1, 0, 1), np.nan)
    judge(expected, changed(expected, (1, 0, 0), np.nan))


def test_a_limit_grows_with_the_family_and_not_with_another() -> None:
    judge(GIVEN, changed(GIVEN, (1, 0, 0), 1000.05))
    with pytest.raises(ParityError, match=r"'all zeros' the source answers 0 at \[0, 0\] and the variant 0\.05"):
        judge(GIVEN, changed(GIVEN, (0, 0, 0), 0.05))
    with pytest.raises(ParityError, match="'±1000'"):
        judge(GIVEN, changed(GIVEN, (1, 0, 0), 1001))


def test_a_value_that_jumps_by_its_last_bits_may_be_on_either_side_and_its_neighbours_may_not() -> None:
    moved = changed(np.zeros(GIVEN.shape), (2, 0, 1), 1.0)
    judge(GIVEN, changed(GIVEN, (2, 0, 1), 1.5), moved=moved)
    with pytest.raises(ParityError, match=r"'all at 0\.5'"):
        judge(GIVEN, changed(GIVEN, (2, 0, 2), 1.5), moved=moved)


def test_where_the_sources_own_kind_of_number_changes_any_will_do() -> None:
    moved = changed(np.zeros(GIVEN.shape), (2, 0, 1), np.inf)
    for answer in (np.nan, np.inf, 7):
        judge(GIVEN, changed(GIVEN, (2, 0, 1), answer), moved=moved)


def test_integers_of_integers_are_exact() -> None:
    given = np.array([[[0, 0]], [[2**31 - 1, -(2**31)]], [[-30, 61]]], np.int32)
    usual = Ordinary({"x": given}, {"y": given}, {})
    judge(given, given, given=given, ordinary=usual)
    for place in ((1, 0, 0), (2, 0, 0)):
        with pytest.raises(ParityError, match="expected an error of at most 0"):
            judge(given, changed(given, place, int(given[place]) - 1), given=given, ordinary=usual)


def test_large_integers_that_no_float_tells_apart_are_told_apart() -> None:
    given = np.full((3, 1, 2), 2**62, np.int64)
    usual = Ordinary({"x": given}, {"y": given}, {})
    with pytest.raises(ParityError):
        judge(given, given + 1, given=given, ordinary=usual)


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.INT16X8, Precision.INT8_DYNAMIC, Precision.MIXED])
def test_integer_variants_saturate_outside_their_range_and_answer_numbers(precision: Precision) -> None:
    judge(GIVEN, np.clip(GIVEN, USUAL.min(), USUAL.max()), precision)
    with pytest.raises(ParityError, match="expected the same kind of number"):
        judge(GIVEN, changed(GIVEN, (1, 0, 0), np.nan), precision)


def test_integer_variants_are_held_to_values_within_their_range() -> None:
    names, inside = [f"{i}" for i in range(10)], np.full((10, 1, 4), 0.5, np.float32)
    runs = EdgeRuns(names, ["usual"] * 10, {"x": inside}, {"y": inside}, {"y": np.zeros(inside.shape)})
    one = changed(inside, (3, 0), 2.0)
    edges.judge(variant(Precision.INT8), runs, {"y": one}, ordinary=ORDINARY)  # it may saturate inside
    with pytest.raises(ParityError, match="within the range of the data, the mean error is"):
        edges.judge(variant(Precision.INT8), runs, {"y": inside + 2}, ordinary=ORDINARY)


SCALES = np.array([100.0, 100.0, 0.1, 0.1], np.float32)
"""Boxes in pixels, and scores beside them."""


def of_two_units(precision: Precision, off: Array, *, real: bool = False) -> None:
    """Judge a variant that is `off` on runs of ordinary values of an output of two units."""
    usual = np.random.default_rng(5).uniform(0, 1, (40, 1, 4)).astype(np.float32) * SCALES
    ordinary = Ordinary({"x": usual}, {"y": usual}, {}, real=real)
    given = usual[:10].clip(usual.min(axis=0) + 1e-4, None)
    runs = EdgeRuns([f"run {i}" for i in range(10)], ["usual"] * 10, {"x": given}, {"y": given}, {"y": given * 0})
    edges.judge(variant(precision), runs, {"y": given + off}, ordinary=ordinary)


@pytest.mark.parametrize(
    ("precision", "off"), [(Precision.FLOAT32, 1e-3), (Precision.FLOAT16, 0.1), (Precision.INT8, 0.2)]
)
def test_a_small_column_is_held_to_its_own_scale(precision: Precision, off: float) -> None:
    of_scores, of_boxes = (np.array(which, np.float32) * off for which in ([0, 0, 1, 1], [1, 1, 0, 0]))
    of_two_units(precision, of_boxes)
    with pytest.raises(ParityError, match=r"at \[0, [23]\]|column 2"):
        of_two_units(precision, of_scores)


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.FLOAT16, Precision.INT8])
def test_a_column_may_be_off_by_a_little(precision: Precision) -> None:
    of_two_units(precision, SCALES * np.float32(3e-5))


def test_rounding_of_a_large_column_excuses_no_small_one() -> None:
    usual = np.random.default_rng(5).uniform(0, 1, (40, 1, 4)).astype(np.float32) * SCALES
    given, moved = usual[:10], np.broadcast_to(SCALES * 1e-6, (10, 1, 4))
    runs = EdgeRuns([f"{i}" for i in range(10)], ["usual"] * 10, {"x": given}, {"y": given}, {"y": moved})
    found = given + np.array([0, 0, 0, 2e-3], np.float32)
    with pytest.raises(ParityError, match=r"at \[0, 3\] and the variant"):
        edges.judge(variant(), runs, {"y": found}, ordinary=Ordinary({"x": usual}, {"y": usual}, {}))


def test_the_advice_fits_what_was_given() -> None:
    off = np.full(4, 50, np.float32)
    with pytest.raises(ParityError, match="give --calibration with real inputs"):
        of_two_units(Precision.FLOAT32, off)
    with pytest.raises(ParityError, match="leave this variant out with --target or --precision, or report the model"):
        of_two_units(Precision.FLOAT32, off, real=True)


def test_another_shape_is_told() -> None:
    with pytest.raises(ParityError, match="expected shape"):
        judge(GIVEN, GIVEN[:, :, :3])


def chosen(source: Array, found: Array, *, moved: Array | None = None, usual: Array = USUAL) -> Sequence[int]:
    runs = EdgeRuns(
        NAMES, FAMILIES, {"x": GIVEN}, {"y": source}, {"y": np.zeros(source.shape) if moved is None else moved}
    )
    ordinary = Ordinary({"x": USUAL}, {"y": usual}, {})
    return edges.chosen(runs, [{"y": found}], ordinary=ordinary, answers=[{"y": usual}], limit=4)


def test_golden_samples_are_edge_inputs_that_widen_no_tolerance() -> None:
    assert chosen(GIVEN, GIVEN) == [0, 2]  # ±1000 is beyond the scale of ordinary outputs
    assert chosen(GIVEN, changed(GIVEN, (0, 0, 0), 0.1)) == [2]  # a variant is further off than ordinarily
    assert chosen(changed(GIVEN, (0, 0, 0), np.nan), GIVEN) == [2]


def test_golden_samples_are_edge_inputs_that_hold_on_another_cpu() -> None:
    assert chosen(GIVEN, GIVEN, moved=changed(np.zeros(GIVEN.shape), (2, 0, 1), 0.01)) == [0]


def test_golden_samples_are_of_many_families() -> None:
    still = np.zeros((6, 1, 4), np.float32)
    runs = EdgeRuns(list("abcdef"), ["1", "1", "1", "1e-6", "zeros", "10"], {"x": still}, {"y": still}, {"y": still})
    found = edges.chosen(runs, [{"y": still}], ordinary=ORDINARY, answers=[{"y": USUAL}], limit=4)
    assert list(found) == [0, 3, 4, 5]


def test_golden_samples_have_a_largest_class_by_far() -> None:
    usual = np.exp(4 * USUAL) / np.exp(4 * USUAL).sum(axis=-1, keepdims=True)
    source = np.array([[[0.25, 0.25, 0.25, 0.25]], [[0.1, 0.1, 0.2, 0.6]], [[0.5, 0.45, 0.05, 0]]])
    source[2, 0, 3] = usual.min()
    assert chosen(source, source, usual=usual) == [1]
