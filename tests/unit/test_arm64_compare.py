"""When two machines answer alike: int8 within one step, floats within rounding, the same class, golden samples held."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.arm64.compare import Answer, difference, differences

pytestmark = pytest.mark.benchmarks

STEP = 1 / 256
INT8 = Answer("kws tflite:int8 dense", step=STEP, rounding=0.0, golden=(0.9, 0.9))
FLOAT = Answer("ad tflite:float32 dense_9", step=None, rounding=0.0, golden=(0.1, 0.1))
HERE = np.array([[0.25, 0.5, 0.25], [0.75, 0.125, 0.125]], np.float32)


def moved(by: float, *, column: int = 2) -> np.ndarray:
    there = HERE.copy()
    there[0, column] += np.float32(by)
    return there


@pytest.mark.parametrize(
    ("answer", "by", "holds"),
    [
        (INT8, 0.0, True),
        (INT8, STEP, True),
        (INT8, -STEP, True),
        (INT8, 2 * STEP, False),
        (FLOAT, 7e-6, True),
        (FLOAT, 9e-6, False),
        (dataclasses.replace(FLOAT, rounding=2e-5), 1.5e-4, True),
        (dataclasses.replace(FLOAT, rounding=2e-5), 1.7e-4, False),
        (dataclasses.replace(INT8, golden=(0.9, 1.1)), 0.0, False),
        (dataclasses.replace(INT8, golden=(1.1, 0.9)), 0.0, False),
    ],
)
def test_answers_may_differ_by_a_step_or_by_rounding(answer: Answer, by: float, holds: bool) -> None:
    found = difference(answer, HERE, moved(by))
    assert found.holds is holds
    assert (found.values, found.differing, found.rows, found.other_class) == (6, int(by != 0), 2, 0)
    assert ("**no**" in found.row()) is not holds


def test_another_largest_class_is_told_however_small_the_difference() -> None:
    here, there = np.array([[0.5, 0.5]], np.float32), np.array([[0.5, 0.5 + STEP]], np.float32)
    found = difference(INT8, here, there)
    assert (found.other_class, found.holds) == (1, False)


@pytest.mark.parametrize("there", [HERE[:1], np.full_like(HERE, np.nan)])
def test_answers_of_another_shape_or_without_a_value_are_no_answers(there: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected finite answers of one shape"):
        difference(INT8, HERE, there)


@pytest.mark.parametrize(
    ("answers", "here", "there"),
    [([], {}, {}), ([INT8], {}, {INT8.name: HERE}), ([INT8], {INT8.name: HERE}, {INT8.name: HERE, "more": HERE})],
)
def test_what_one_machine_alone_answered_or_none_is_refused(
    answers: list[Answer], here: dict[str, np.ndarray], there: dict[str, np.ndarray]
) -> None:
    with pytest.raises(ValueError, match="expected answers for"):
        differences(answers, here, there)
