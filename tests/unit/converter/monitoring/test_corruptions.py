"""The library of corruptions: enough families, all of them finite, of the same shape, and repeatable."""

import numpy as np
import pytest

from edgemm.monitoring.monitor_document import Modality, View
from edgemm_converter.data.arrays import Array
from edgemm_converter.monitoring.corruptions import MOST_SEVERE, corrupted, families
from edgemm_converter.monitoring.corruptions.warping import convolved
from tests.monitors import float32

RANDOM = np.random.default_rng(5)
VIEWS = {
    "grey": View(inputs=("x",), modality=Modality.IMAGE, rows=8, columns=8),
    "colour": View(inputs=("x",), modality=Modality.IMAGE, rows=8, columns=8, low=-1.0, high=1.0),
    "first": View(inputs=("x",), modality=Modality.IMAGE, rows=8, columns=8, channels_first=True, high=255.0),
    "signal": View(inputs=("x",), modality=Modality.SIGNAL, rows=16, centre=float32([1, 2]), scale=float32([1, 3])),
    "flat": View(inputs=("x",), modality=Modality.SIGNAL, rows=16, centre=float32([0]), scale=float32([1])),
    "table": View(inputs=("a", "b"), modality=Modality.TABLE, centre=float32(range(5)), scale=float32([2] * 5)),
    "some": View(
        inputs=("x",), modality=Modality.TABLE, features=(0, 3), centre=float32([0, 0]), scale=float32([1, 1])
    ),
}
INPUTS: dict[str, dict[str, Array]] = {
    "grey": {"x": RANDOM.random((6, 8, 8)).astype(np.float32)},
    "colour": {"x": RANDOM.uniform(-1, 1, (6, 12, 10, 3)).astype(np.float32)},
    "first": {"x": RANDOM.integers(0, 256, (6, 3, 9, 9), dtype=np.uint8)},
    "signal": {"x": RANDOM.normal(1, 2, (6, 40, 2)).astype(np.float32)},
    "flat": {"x": RANDOM.normal(0, 1, (6, 33)).astype(np.float32)},
    "table": {"a": RANDOM.normal(size=(6, 3)).astype(np.float32), "b": RANDOM.normal(size=(6, 2))},
    "some": {"x": RANDOM.normal(size=(6, 5)).astype(np.float32)},
}


@pytest.mark.parametrize("kind", VIEWS)
def test_every_family_is_finite_repeatable_and_changes_something(kind: str) -> None:
    view, inputs = VIEWS[kind], INPUTS[kind]
    assert len(families(view.modality)) >= 20
    for family in families(view.modality):
        for severity in (0.0, 1.7, MOST_SEVERE):
            found, again = (corrupted(view, inputs, [(family, severity)], np.random.default_rng(7)) for _ in range(2))
            for name, array in inputs.items():
                assert found[name].shape == array.shape, family
                assert found[name].dtype == array.dtype, family
                assert np.isfinite(found[name].astype(np.float64)).all(), family
                assert np.array_equal(found[name], again[name]), family
        changed = any(not np.array_equal(found[name], inputs[name]) for name in inputs)
        assert changed, f"{family} changes nothing at severity {MOST_SEVERE}"


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("size", [65, 130])
def test_long_kernels_do_what_sums_do(axis: int, size: int) -> None:
    values, kernel = RANDOM.normal(size=(3, 90, 70)), RANDOM.random(size)
    pad = [(0, 0)] * 3
    pad[axis] = (size // 2, size - 1 - size // 2)
    padded = np.pad(values, pad, mode="edge")
    wanted = np.apply_along_axis(lambda one: np.correlate(one, kernel, "valid"), axis, padded)
    assert convolved(values, kernel, axis=axis) == pytest.approx(wanted, abs=1e-9)


def test_images_stay_between_black_and_white() -> None:
    for family in families(Modality.IMAGE):
        found = corrupted(VIEWS["colour"], INPUTS["colour"], [(family, 5.0)], np.random.default_rng(1))["x"]
        assert np.abs(found).max() <= 1.0001, family


def test_inputs_that_are_not_looked_at_stay() -> None:
    found = corrupted(VIEWS["some"], INPUTS["some"], [("noise", 3.0)], np.random.default_rng(1))["x"]
    assert np.array_equal(found[:, [1, 2, 4]], INPUTS["some"]["x"][:, [1, 2, 4]])
    assert not np.array_equal(found[:, [0, 3]], INPUTS["some"]["x"][:, [0, 3]])


def test_pairs_are_applied_one_after_the_other_and_nothing_is_nothing() -> None:
    view, inputs = VIEWS["grey"], INPUTS["grey"]
    pair = corrupted(view, inputs, [("brightness", 2.0), ("gamma", 1.0)], np.random.default_rng(1))["x"]
    one = corrupted(view, inputs, [("brightness", 2.0)], np.random.default_rng(1))
    then = corrupted(view, one, [("gamma", 1.0)], np.random.default_rng(1))["x"]
    assert pair == pytest.approx(then, abs=1e-6)
    assert np.array_equal(corrupted(view, inputs, [], np.random.default_rng(1))["x"], inputs["x"])
