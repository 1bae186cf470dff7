"""Which axes are the batch, and whether its rows are answered each for itself: models of NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgemm.bundle.manifest import DType, Signature, TensorSpec
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import batch_axis

Values = dict[str, Array]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 1, 3)).astype(np.float32)


def spec(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name=name, dtype=DType.FLOAT32, shape=shape)


def signature(*inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = (spec("y", -1, 3),)) -> Signature:
    return Signature(inputs=inputs, outputs=outputs)


def as_long(axis: int) -> Callable[[Values], bool]:
    """Return a model that takes a state only if this axis of it is as long as the batch."""
    return lambda values: values["state"].shape[axis] == len(values["x"])


def test_a_state_of_layers_before_the_batch_is_found_and_fixed() -> None:
    served = signature(spec("x", -1, 5, 3), spec("state", 2, -1, 4))
    tied = batch_axis.other_batch_axes(served, as_long(1))
    shapes = batch_axis.fixed_at_one(served, tied)
    assert tied == {("state", 1)}
    assert shapes == {"x": (1, 5, 3), "state": (2, 1, 4)}
    assert "axis 1 of input 'state' is the batch too" in batch_axis.note(tied, shapes)
    assert "--input-shape x=1,5,3 --input-shape state=2,1,4" in batch_axis.note(tied, shapes)


def test_an_open_axis_of_another_meaning_stays_open() -> None:
    served = signature(spec("x", -1, -1, 3), spec("state", 2, -1, -1))
    assert batch_axis.other_batch_axes(served, as_long(1)) == {("state", 1)}
    assert batch_axis.fixed_at_one(served, frozenset({("state", 1)}))["state"] == (2, 1, -1)


@pytest.mark.parametrize("takes", [lambda _: True, lambda _: False, lambda v: v["x"].shape[1] == 32])
def test_lengths_of_their_own_are_no_batch(takes: Callable[[Values], bool]) -> None:
    served = signature(spec("x", -1, -1, 3), spec("y", -1, 2))
    assert batch_axis.other_batch_axes(served, takes) == frozenset()


def test_nothing_is_run_where_no_axis_inside_is_open() -> None:
    def never(_: Values) -> bool:
        raise AssertionError

    assert batch_axis.other_batch_axes(signature(spec("x", -1, 3), spec("gain")), never) == frozenset()


def dependent(run: batch_axis.Run, *inputs: TensorSpec, outputs: tuple[TensorSpec, ...], **values: Array) -> str:
    return batch_axis.dependent_output(signature(*inputs, outputs=outputs), run, values, moved=run)


@pytest.mark.parametrize(
    ("run", "shape", "name"),
    [
        (lambda v: {"y": v["x"] * 2}, (-1, 3), ""),
        (lambda v: {"y": np.cumsum(v["x"], 0)}, (-1, 3), "y"),
        (lambda v: {"y": v["x"] - v["x"].mean()}, (-1, 3), "y"),
        (lambda v: {"y": v["x"].mean()}, (), "y"),
        (lambda v: {"y": np.ones((2, 2))}, (2, 2), ""),
        (lambda v: {"y": v["x"][:1]}, (-1, 3), "y"),
        (lambda v: {"y": np.argmax(v["x"], 0)}, (3,), "y"),
    ],
)
def test_rows_that_have_a_part_in_each_other(run: batch_axis.Run, shape: tuple[int, ...], name: str) -> None:
    assert dependent(run, spec("x", -1, 3), outputs=(spec("y", *shape),), x=X) == name


def test_one_class_in_many_that_rounding_turns_is_no_part_of_other_rows() -> None:
    def turned(values: Values) -> Values:
        found = np.zeros((len(values["x"]), 20), np.int64)
        found[0, 0] = len(found)
        return {"y": found}

    assert dependent(turned, spec("x", -1, 3), outputs=(spec("y", -1, 20),), x=X) == ""


def test_what_is_known_is_not_computed_again() -> None:
    runs: list[int] = []

    def run(values: Values) -> Values:
        runs.append(len(values["x"]))
        return {"y": values["x"]}

    served = signature(spec("x", -1, 3))
    assert batch_axis.dependent_output(served, run, {"x": X}, moved=run, known={"y": X}) == ""
    assert runs == [3]


def test_a_scalar_is_the_same_for_all_rows() -> None:
    inputs, gains = (spec("x", -1, 3), spec("gain")), np.array([1, 2, 3, 4], np.float32)
    found = dependent(lambda v: {"y": v["x"] * v["gain"]}, *inputs, outputs=(spec("y", -1, 3),), x=X, gain=gains)
    assert found == ""


def test_what_rounding_does_to_a_chaotic_model_is_no_part_of_other_rows() -> None:
    count = [0]

    def chaotic(values: Values) -> Values:
        count[0] += 1
        return {"y": values["x"] + 0.01 * count[0]}  # no two runs agree, one step off or not

    assert dependent(chaotic, spec("x", -1, 3), outputs=(spec("y", -1, 3),), x=X) == ""


def test_a_file_of_one_row_names_the_output_and_the_option() -> None:
    told = batch_axis.one_row("tflite:float32", [spec("x", -1, 3)], dependent="y")
    assert told.startswith("tflite:float32: output 'y' of several rows together is not that of each row alone")
    assert "--input-shape x=1,3" in told


def test_lengths_that_were_guessed_are_asked_for() -> None:
    served = signature(spec("image", -1, -1, -1, 3), spec("more", -1, 2))
    assert "give them, --input-shape image=1,N,N,3, or real inputs" in batch_axis.open_lengths(served)
    assert batch_axis.open_lengths(signature(spec("x", -1, 3))) == ""
