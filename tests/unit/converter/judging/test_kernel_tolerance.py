"""Tolerances for other kernels let the same model pass, whose sums round otherwise, and no other one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgemm.bundle.manifest import Tolerance
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import kernel_tolerance
from edgemm_converter.judging.kernel_tolerance import KernelTolerances
from edgemm_runtime.tensors import kernel_comparison

RNG = np.random.default_rng(0)
SAMPLES = 8
STRICT = Tolerance(max_abs=1e-4)


def of(expected: Mapping[str, Array], *answers: Mapping[str, Array], strict: Tolerance = STRICT) -> KernelTolerances:
    return kernel_tolerance.of(expected, answers, dict.fromkeys(expected, strict), samples=SAMPLES)


def passes(told: KernelTolerances, expected: Mapping[str, Array], found: Mapping[str, Array]) -> bool:
    """Tell whether a device would take an answer."""
    of_rows = {name for group in told.rows for name in group}
    for index in range(SAMPLES):
        left, right = ({name: array[index] for name, array in one.items()} for one in (expected, found))
        for group in told.rows:
            allowed = {name: told.outputs[name].max_abs for name in group}
            if kernel_comparison.share_of_rows(left, right, allowed) < told.outputs[group[0]].min_share:
                return False
        for name, held in told.outputs.items():
            share = kernel_comparison.share_of_values(left[name], right[name], held.max_abs)
            if name not in of_rows and share < held.min_share:
                return False
    return bool(told.outputs)


def detector(seed: int = 0) -> dict[str, Array]:
    """Return what a detector answers: ten boxes a sample, the best first, in a few classes."""
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.random((SAMPLES, 1, 10)), axis=-1)[..., ::-1].astype(np.float32)
    classes = rng.integers(0, 80, (SAMPLES, 1, 10)).astype(np.float32)
    return {"boxes": rng.random((SAMPLES, 1, 10, 4)).astype(np.float32), "classes": classes, "scores": scores}


def turned(found: Mapping[str, Array], *pairs: tuple[int, int]) -> dict[str, Array]:
    """Return the same boxes with some in one another's place."""
    order = np.arange(10)
    for one, other in pairs:
        order[[one, other]] = order[[other, one]]
    return {name: array[:, :, order] for name, array in found.items()}


def test_twice_the_error_that_was_measured_is_allowed() -> None:
    y = RNG.random((SAMPLES, 1, 5)).astype(np.float32)
    told = of({"y": y}, {"y": y + np.float32(0.01)}, {"y": y - np.float32(0.02)})
    [most] = told.outputs["y"].max_abs
    assert abs(most - (2 * 0.02 + 1e-4)) < 1e-6
    assert told.outputs["y"].min_share == 1
    assert not passes(told, {"y": y}, {"y": y[::-1]})


def test_of_a_large_model_that_answered_few_samples_it_is_four_times() -> None:
    y = RNG.random((SAMPLES, 1, 5)).astype(np.float32)
    [most] = of({"y": y}, {"y": y[:2] + np.float32(0.01)}).outputs["y"].max_abs
    assert abs(most - (4 * 0.01 + 1e-4)) < 1e-6


def test_the_rows_of_a_detector_may_change_places() -> None:
    right = detector()
    told = of(right, turned(right, (4, 5), (8, 9)))
    assert told.rows == (("boxes", "classes", "scores"),)
    assert told.outputs["classes"].max_abs == (0.5,)
    assert len(told.outputs["boxes"].max_abs) == 4
    assert told.outputs["boxes"].min_share == 0.9
    assert passes(told, right, turned(right, (0, 1), (2, 3)))
    lost = {name: array.copy() for name, array in right.items()}
    lost["boxes"][:, :, 9] = 0.5  # another box came in last
    assert passes(told, right, lost)


def test_another_detector_of_the_same_shape_fails() -> None:
    right, other = detector(), detector(1)
    told = of(right, turned(right, (4, 5), (8, 9)))
    assert not passes(told, right, other)
    assert not passes(told, right, {**right, "boxes": other["boxes"]})
    assert not passes(told, right, {**right, "classes": other["classes"]})
    assert not passes(told, right, {**right, "scores": right["scores"] * np.float32(0.5)})
    assert not passes(told, right, {name: np.roll(array, 1, axis=0) for name, array in right.items()})


def test_one_output_of_rows_has_a_tolerance_for_each_column() -> None:
    parts = detector()
    rows = np.concatenate([parts["boxes"] * 640, parts["scores"][..., None], parts["classes"][..., None]], axis=-1)
    told = of({"rows": rows}, {"rows": rows[:, :, [1, 0, *range(2, 10)]]})
    assert told.rows == (("rows",),)
    most = told.outputs["rows"].max_abs
    assert most[0] > 10
    assert most[4] < 1
    assert most[5] == 0.5
    wrong = rows.copy()
    wrong[..., 4] = 0.9  # a score beside boxes in pixels
    assert passes(told, {"rows": rows}, {"rows": rows})
    assert not passes(told, {"rows": rows}, {"rows": wrong})


def test_a_map_of_classes_may_differ_in_few_places() -> None:
    classes = RNG.integers(0, 21, (SAMPLES, 1, 30, 30))
    other = classes.copy()
    other[:, :, 0, :10] = 3
    told = of({"map": classes}, {"map": other})
    assert told.outputs["map"].max_abs == (0.5,)
    assert 0.97 < told.outputs["map"].min_share < 0.99
    assert not passes(told, {"map": classes}, {"map": classes[::-1]})


def test_what_would_tell_nothing_is_left_to_the_ordinary_tolerance() -> None:
    same = np.repeat(RNG.integers(0, 9, (1, 1, 30)), SAMPLES, axis=0).astype(np.float32)  # whatever is asked
    other = same.copy()
    other[:, :, 0] += 9
    assert of({"y": same}, {"y": other}).outputs == {}
    noise = {"y": RNG.random((SAMPLES, 1, 30)).astype(np.float32)}
    assert of(noise, {"y": RNG.random((SAMPLES, 1, 30)).astype(np.float32)}).outputs == {}
    wrong_shape = {"y": RNG.random((SAMPLES, 1, 31)).astype(np.float32)}
    assert of(noise, wrong_shape).outputs == {}


def test_classes_may_differ_as_often_as_they_did() -> None:
    y = np.eye(4, dtype=np.float32)[np.arange(SAMPLES) % 4][:, None] * np.float32(0.2) + np.float32(0.2)
    other = y.copy()
    other[0] = y[1]
    strict = Tolerance(max_abs=0.5, min_argmax_agreement=1.0)
    assert of({"y": y}, {"y": y}, strict=strict).outputs["y"].min_argmax_agreement == 1 - 1 / SAMPLES
    assert of({"y": y}, {"y": other}, strict=strict).outputs == {}  # as far off as another class is: no tolerance
