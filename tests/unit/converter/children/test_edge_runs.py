"""What is asked of a source on edge inputs: those that it takes, and how far rounding moves its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgemm.bundle.manifest import DType, Signature, TensorSpec
from edgemm_converter.children import edge_runs, samples
from edgemm_converter.children.protocol import SetKind
from edgemm_converter.children.samples import InputSet
from edgemm_converter.data.arrays import Array

Function = Callable[[Array], Array]


def given(dtype: DType, *shape: int) -> InputSet:
    spec = TensorSpec(name="x", dtype=dtype, shape=shape)
    sets = samples.input_sets(Signature(inputs=(spec,), outputs=(spec,)), calibration=None, evaluation=None)
    return next(s for s in sets if s.kind is SetKind.EDGE)


def model(function: Function) -> edge_runs.Run:
    def run(inputs: dict[str, Array]) -> Mapping[str, Array]:
        with np.errstate(all="ignore"):
            return {"y": np.asarray(function(inputs["x"]))}

    return run


def taken(function: Function, wanted: InputSet) -> InputSet:
    found = edge_runs.answered(model(function), wanted, (IndexError, ValueError))
    assert found is not None
    return found[0]


def moved(function: Function, wanted: InputSet, *, orders: bool = False) -> dict[str, Array]:
    found = edge_runs.answered(model(function), wanted, ())
    assert found is not None
    by_output = edge_runs.moved(model(function), *found, (), orders=orders)
    return dict(zip(found[0].names, by_output["y"], strict=True))


def test_what_the_source_refuses_is_no_edge_input() -> None:
    table = np.arange(20.0)
    kept = taken(lambda x: table[x], given(DType.INT32, -1, 6))
    assert {"all zeros", "integers from 0 to 9", "all at 10"} <= set(kept.names)
    assert (kept.arrays["x"].min(), kept.arrays["x"].max()) <= (-1, 19)
    assert len(kept.names) == len(kept.families) == kept.runs == len(kept.arrays["x"])


def test_a_source_that_takes_none_has_none() -> None:
    def refuse(_x: Array) -> Array:
        raise ValueError

    assert edge_runs.answered(model(refuse), given(DType.FLOAT32, -1, 3), (ValueError,)) is None


def test_extremes_are_tried_only_where_large_integers_are_taken() -> None:
    asked: list[int] = []

    def repeat(x: Array) -> Array:
        asked.append(int(x.max()))
        return np.zeros(max(int(x.max()), 1))

    taken(repeat, given(DType.INT32, -1, 6))
    assert max(asked) <= 1000
    assert "all at the largest int32" in taken(lambda x: x, given(DType.INT32, -1, 6)).names


def test_runs_of_another_shape_are_left_out() -> None:
    kept = taken(lambda x: x[x > 0] if x.any() else x, given(DType.FLOAT32, -1, 6))
    assert kept.runs < given(DType.FLOAT32, -1, 6).runs


def test_a_smooth_function_hardly_moves_and_a_jump_does() -> None:
    found = moved(np.tanh, given(DType.FLOAT32, -1, 6))
    assert all(values.max() < 1e-6 for values in found.values())
    found = moved(np.floor, given(DType.FLOAT32, -1, 6))
    assert (found["all at 10"] == 1).all()
    assert (found["halves"] == 0).all()
    assert (moved(np.round, given(DType.FLOAT32, -1, 6))["halves"] == 1).all()


def test_zeros_stay_for_they_tell_masks_and_denormals_become_zeros() -> None:
    found = moved(lambda x: np.where(x == 0, 5, 0) + x * 0, given(DType.FLOAT32, -1, 6))
    assert not found["all zeros"].any()
    assert (found["denormals"] == 5).all()


def test_a_number_that_becomes_none_moves_infinitely() -> None:
    found = moved(lambda x: 1 / x, given(DType.FLOAT32, -1, 6))
    assert np.isinf(found["denormals"]).all()
    assert not np.isinf(found["all at 1e-06"]).any()


def test_ties_of_a_source_that_orders_move() -> None:
    values = given(DType.FLOAT32, -1, 6)
    assert not moved(lambda x: x.argmax(axis=-1), values)["all zeros"].any()
    assert moved(lambda x: x.argmax(axis=-1), values, orders=True)["all zeros"].any()


def test_integers_do_not_move() -> None:
    assert all(not values.any() for values in moved(lambda x: x // 60, given(DType.INT32, -1, 6)).values())


def test_large_inputs_have_fewer_edge_inputs() -> None:
    assert given(DType.FLOAT32, -1, 224, 224, 3).runs == 8
    assert 30 <= given(DType.FLOAT32, -1, 6).runs <= 40
