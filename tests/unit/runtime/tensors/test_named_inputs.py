"""Inputs are matched with a signature by name, and a lone one needs none."""

import pytest

from edgemm.bundle.manifest import DType, TensorSpec
from edgemm_runtime.tensors.named_inputs import are_names, by_name, missing_names, unknown_names

ONE = (TensorSpec(name="x", dtype=DType.FLOAT32, shape=(-1, 4)),)
TWO = (*ONE, TensorSpec(name="a", dtype=DType.FLOAT32, shape=(-1, 4)))


def test_a_lone_one_may_have_any_name() -> None:
    assert by_name({"": 7}, ONE) == by_name({"x": 7}, ONE) == {"x": 7}


def test_several_have_the_models_names_and_come_in_its_order() -> None:
    assert list((by_name({"a": 1, "x": 2}, TWO) or {}).items()) == [("x", 2), ("a", 1)]


@pytest.mark.parametrize("given", [{}, {"x": 1}, {"x": 1, "b": 2}, {"x": 1, "a": 2, "b": 3}])
def test_what_is_missing_or_too_much_is_named(given: dict[str, int]) -> None:
    assert by_name(given, TWO) is None
    assert not are_names(given, TWO)
    assert unknown_names(given, TWO) == [name for name in given if name == "b"]
    assert missing_names(given, TWO) == [name for name in ("a", "x") if name not in given]
