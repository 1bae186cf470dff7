"""What the inputs of a model are to its committee, and which cannot be monitored, with the reason."""

import numpy as np
import pytest

from edgemm.bundle.manifest import DType, Preprocessing, Signature, TensorSpec
from edgemm.monitoring.monitor_document import Modality, Scores, View
from edgemm_converter.monitoring.view_choice import UnmonitoredError, scores_of, view_of

RANDOM = np.random.default_rng(2)
WALK = RANDOM.normal(size=(50, 64)).cumsum(axis=1).astype(np.float32)


def seen(*arrays: np.ndarray, declared: Preprocessing | None = None) -> View:
    named = {f"x{i}": array for i, array in enumerate(arrays)}
    specs = tuple(
        TensorSpec(name=name, dtype=DType(str(array.dtype)), shape=(-1, *array.shape[1:]))
        for name, array in named.items()
    )
    signature = Signature(inputs=specs, outputs=(TensorSpec(name="y", dtype=DType.FLOAT32, shape=(-1, 3)),))
    return view_of(signature, named, {"x0": declared} if declared is not None else {})


def images(*shape: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    return RANDOM.uniform(low, high, (50, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("array", "modality"),
    [
        (images(8, 8, 1), Modality.IMAGE),
        (images(28, 28), Modality.IMAGE),
        (images(3, 32, 32), Modality.IMAGE),
        (RANDOM.integers(0, 256, (50, 32, 32, 3), dtype=np.uint8), Modality.IMAGE),
        (WALK[..., None], Modality.SIGNAL),
        (RANDOM.normal(size=(50, 490, 10)).astype(np.float32), Modality.SIGNAL),
        (WALK, Modality.SIGNAL),
        (RANDOM.normal(size=(50, 30)).astype(np.float32), Modality.TABLE),
    ],
)
def test_shapes_tell_what_an_input_is(array: np.ndarray, modality: Modality) -> None:
    assert seen(array).modality is modality


@pytest.mark.parametrize(
    ("low", "high", "found"), [(0, 1, (0, 1)), (-1, 1, (-1, 1)), (0, 255, (0, 255)), (-2, 5, None)]
)
def test_the_range_of_an_image_is_a_usual_one_or_its_own(low: int, high: int, found: tuple[int, int] | None) -> None:
    array = images(9, 9, 3, low=low, high=high)
    view = seen(array)
    assert (view.low, view.high) == (found or pytest.approx((array.min(), array.max())))


def test_declared_pre_processing_says_what_black_and_white_are() -> None:
    view = seen(images(16, 16, 3, low=-1), declared=Preprocessing(scale=1 / 127.5, mean=(1.0,), std=(1.0,)))
    assert (view.low, view.high) == pytest.approx((-1.0, 1.0))


def test_several_inputs_of_numbers_are_one_table() -> None:
    view = seen(images(1), images(4))
    assert (view.modality, view.inputs) == (Modality.TABLE, ("x0", "x1"))


def test_channels_may_come_first() -> None:
    assert seen(images(3, 32, 32)).channels_first
    assert not seen(images(32, 32, 3)).channels_first


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (RANDOM.integers(0, 99, (50, 20), dtype=np.int32), "is of integers, and no image"),
        (RANDOM.random((50, 20)) > 0.5, "is no input of numbers"),
        (images(4, 4, 3), "too small an image"),
        (images(5, 6, 7, 8), "is no image, no signal and no table"),
        (np.zeros((50, 8, 8, 1), np.float32), "all of one colour"),
        (images(1), "have one number, expected two or more"),
    ],
)
def test_what_cannot_be_monitored_has_a_reason(array: np.ndarray, said: str) -> None:
    with pytest.raises(UnmonitoredError, match=said):
        seen(array)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_missing_leaves_the_view_finite(value: float) -> None:
    walk, table, image = WALK.copy()[..., None], RANDOM.normal(size=(50, 30)).astype(np.float32), images(9, 9, 3)
    for array in (walk, table, image):
        array.reshape(50, -1)[::7, ::3] = value
        view = seen(array)
        for numbers in (view.centre, view.scale):
            assert np.isfinite(np.frombuffer(numbers, "<f4")).all()
        assert np.isfinite([view.low, view.high]).all()
    walk[:] = value
    with pytest.raises(UnmonitoredError, match="channel 0 has no number in the labelled data"):
        seen(walk)


def test_numbers_beyond_float32_leave_the_view_finite() -> None:
    rows = np.column_stack([RANDOM.normal(size=50) * 1e300, RANDOM.normal(size=50) * 1e-60])
    view = seen(rows)
    assert np.isfinite(np.frombuffer(view.scale, "<f4")).all()
    assert (np.frombuffer(view.scale, "<f4") > 0).all()


def test_class_indices_are_not_monitored() -> None:
    with pytest.raises(UnmonitoredError, match="class indices"):
        seen(images(5, 9), declared=Preprocessing(one_hot=9))


def test_outputs_say_what_they_are() -> None:
    assert scores_of(RANDOM.dirichlet(np.ones(3), 9)) is Scores.PROBABILITIES
    assert scores_of(RANDOM.normal(size=(9, 3))) is Scores.LOGITS
    assert scores_of(RANDOM.random((9, 1))) is Scores.POSITIVE
    with pytest.raises(UnmonitoredError, match="no probability"):
        scores_of(RANDOM.normal(size=(9, 1)))
