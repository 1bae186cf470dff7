"""Golden samples, shadows and parity see the same errors and the same classes; and what those are."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm.bundle.column_figures import ColumnTolerance
from edgemm.bundle.manifest import DType, Manifest, TensorSpec, Tolerance
from edgemm_runtime.shadow.counting import Comparison, Kind, compare
from edgemm_runtime.tensors import comparison
from edgemm_runtime.tensors.named_arrays import Array
from simulators.models import OUTPUT, make_manifest

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("expected", "found", "error"),
    [
        (1.0, 3.0, 2.0),
        (INF, INF, 0.0),
        (-INF, INF, INF),
        (INF, 1.0, INF),
        (NAN, NAN, 0.0),
        (NAN, 1.0, INF),
        (1.0, NAN, INF),
        (-1e308, 1e308, INF),
    ],
)
def test_an_error_is_a_number_whatever_is_compared(expected: float, found: float, error: float) -> None:
    assert comparison.errors(np.array([expected]), np.array([found])).tolist() == [error]
    assert comparison.largest_error(np.array([0.0, expected]), np.array([0.0, found])) == error


def test_small_integers_do_not_wrap() -> None:
    assert comparison.largest_error(np.array([0, 127], np.int8), np.array([0, -128], np.int8)) == 255
    assert comparison.largest_error(np.array([0], np.uint8), np.array([255], np.uint8)) == 255
    assert comparison.largest_error(np.array([True]), np.array([False])) == 1


def test_answers_of_other_shapes_are_infinitely_apart_and_no_values_are_not_apart() -> None:
    assert comparison.largest_error(np.zeros((2, 3)), np.zeros((3, 2))) == INF
    assert comparison.largest_error(np.zeros((0, 3)), np.zeros((0, 3))) == 0


@pytest.mark.parametrize(
    ("row", "place"),
    [([1, 3, 2], 1), ([2, 2, 1], 0), ([1, 2, 2], 1), ([1, NAN, NAN], 1), ([-INF, -INF], 0), ([0.5], 0)],
)
def test_a_row_names_the_first_of_its_largest_values(row: list[float], place: int) -> None:
    assert comparison.classes(np.array([row, row])).tolist() == [place, place]


def test_nothing_to_choose_from_is_one_class() -> None:
    for shape in ((), (0,), (0, 3), (2, 0)):
        assert comparison.same_classes(np.zeros(shape), np.zeros(shape)).all()


def test_classes_are_compared_row_by_row_though_one_side_has_more_of_them() -> None:
    left, right = np.zeros((3, 2)), np.zeros((3, 4))
    left[:, 1] = right[0, 1] = right[1, 3] = right[2, 1] = 1
    assert comparison.same_classes(left, right).tolist() == [True, False, True]


def test_the_range_is_that_of_numbers_and_the_scale_has_a_floor() -> None:
    assert comparison.spread(np.array([NAN, -2.0, INF, 3.0])) == 5
    assert comparison.spread(np.array([NAN])) == comparison.spread(np.zeros(0)) == 0
    assert comparison.scale(np.array([-2.0, 3.0])) == 5
    assert comparison.scale(np.array([100.0, 101.0])) == pytest.approx(10.1)
    assert comparison.scale(np.zeros(3)) == 1e-6


def test_columns_that_are_further_off_than_they_may_be_are_found() -> None:
    expected = np.zeros((1, 2, 3))
    found = expected + np.array([[0.0], [0.5]])
    inner = ColumnTolerance(axis=1, start=0, stop=1, max_abs=0.1)
    assert comparison.column_beyond(expected, found, [inner]) is None
    outer = ColumnTolerance(axis=1, start=1, stop=2, max_abs=0.1)
    assert comparison.column_beyond(expected, found, [inner, outer]) == comparison.ColumnError(outer, 0.5)
    assert comparison.column_beyond(expected, found, []) is None


def test_a_share_of_samples_may_disagree() -> None:
    def allowed(share: float | None, samples: int = 10) -> int | None:
        tolerance = Tolerance(max_abs=1, min_argmax_agreement=share)
        return comparison.disagreements_allowed(tolerance, samples=samples)

    assert (allowed(None), allowed(1.0), allowed(0.9), allowed(0.85), allowed(0.0)) == (None, 0, 1, 1, 10)
    assert allowed(0.7) == 3, "1 - 0.7 is a little less than 0.3"


def _with(labels: tuple[str, ...] | None, agreement: float | None) -> Manifest:
    manifest, _ = make_manifest()
    tolerance = {v.id: {OUTPUT: Tolerance(max_abs=1, min_argmax_agreement=agreement)} for v in manifest.variants}
    golden = msgspec.structs.replace(manifest.golden, tolerance=tolerance)
    return msgspec.structs.replace(manifest, labels=labels, golden=golden)


def test_a_bundle_says_which_outputs_name_classes() -> None:
    def spec(*shape: int) -> TensorSpec:
        return TensorSpec(name=OUTPUT, dtype=DType.FLOAT32, shape=shape)

    judged, labelled, neither = _with(None, 0.9), _with(("a", "b", "c"), None), _with(None, None)
    assert comparison.is_class_like(judged, spec(-1, 3))
    assert comparison.is_class_like(labelled, spec(-1, 3))
    assert not comparison.is_class_like(labelled, spec(-1, 4))
    assert not comparison.is_class_like(neither, spec(-1, 3))
    assert not comparison.is_class_like(judged, spec(-1, 1))
    assert not comparison.is_class_like(judged, spec(3))


def test_probabilities_are_classes() -> None:
    rows = np.full((4, 1, 2), 0.5, np.float32)
    assert comparison.is_distribution(rows)
    assert not comparison.is_distribution(rows[..., :1])
    assert not comparison.is_distribution(rows[:, 0])
    assert not comparison.is_distribution(rows * 2)
    assert not comparison.is_distribution(np.where(rows > 0, [[-0.5, 1.5]], rows).astype(np.float32))
    assert not comparison.is_distribution(np.full((4, 1, 2), NAN))


VALUES = st.sampled_from([0.0, -0.0, 0.5, 1.0, -1.0, 1e-30, 1e30, INF, -INF, NAN])
PAIRS = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=12)


@given(pairs=PAIRS)
def test_a_shadow_counts_what_golden_samples_would_refuse(pairs: list[tuple[float, float]]) -> None:
    left, right = (np.array([values], np.float64) for values in zip(*pairs, strict=True))
    answers: tuple[dict[str, Array], dict[str, Array]] = {"y": left}, {"y": right}
    largest = comparison.largest_error(left, right)
    found = compare((Comparison("y", Kind.VALUES, 1.0),), *answers)["y"]
    bound = found.quantile(1.0)  # type: ignore[union-attr]  # of an output that is compared by value
    assert bound is not None
    assert largest <= bound
    named = compare((Comparison("y", Kind.CLASSES, 1.0),), *answers)["y"]
    assert named.agreement == comparison.same_classes(left, right).mean()  # type: ignore[union-attr]  # by class
