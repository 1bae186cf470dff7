"""Constants of quantized files: each against the float one, and wider scales for what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgemm_converter.export import read_back
from edgemm_converter.formats.tflite_constants import Bias, Constant

STEPS = np.array([0.01, 1e-9]).reshape(2, 1)


def weights(values: Any, step: Any = STEPS, **facts: Any) -> Constant:
    return Constant("net/dense/MatMul", "FULLY_CONNECTED", "net/dense/BiasAdd", np.asarray(values), step, **facts)


def bias(values: Any) -> Constant:
    of_input = Bias(0.1, "net/dense/MatMul", STEPS)
    return Constant("net/dense/BiasAdd", "FULLY_CONNECTED", "", np.asarray(values), 0.1 * STEPS.reshape(-1), of_input)


def source(values: Any, tensor: str = "net/dense/MatMul") -> list[Constant]:
    return [Constant(tensor, "FULLY_CONNECTED", "", np.asarray(values, np.float32), np.zeros(()))]


def test_a_constant_within_a_step_of_its_channel_fits() -> None:
    floats = [[0.5, -0.3], [2e-9, 0.0]]
    assert read_back.misfits([weights([[0.495, -0.305], [2.4e-9, 0.0]])], source(floats)) == []
    (found,) = read_back.misfits([weights([[0.495, -0.305], [4e-9, 0.0]])], source(floats))
    assert str(found) == "constant 'net/dense/MatMul' of FULLY_CONNECTED, channel 1: expected 2e-09, found 4e-09"


def test_a_bias_that_does_not_fit_says_which_scale_its_weights_need() -> None:
    floats = source([0.25, 3.0], "net/dense/BiasAdd")
    (found,) = read_back.misfits([bias([0.25, -0.2147])], floats)
    assert (found.channel, found.expected, found.found) == (1, 3.0, -0.2147)
    assert found.needed is not None
    assert found.needed.shape == STEPS.shape
    assert found.needed[0] == STEPS[0]
    assert found.needed[1] * 0.1 * 2**30 == pytest.approx(3.0)


def test_a_bias_leaves_half_of_its_integers_to_the_products() -> None:
    step = 0.1 * STEPS[1, 0]
    near, beyond = 2**30 * step, 1.01 * 2**30 * step
    assert read_back.misfits([bias([0.25, near])], source([0.25, near], "net/dense/BiasAdd")) == []
    assert read_back.misfits([bias([0.25, beyond])], source([0.25, beyond], "net/dense/BiasAdd"))


@pytest.mark.parametrize(("value", "stored"), [(1e6, np.inf), (1e-8, 0.0), (5e-8, 6e-8)])
def test_what_half_precision_cannot_hold(value: float, stored: float) -> None:
    half = weights([[stored, 0.0]], np.zeros(()), half=True)
    (found,) = read_back.misfits([half], source([[value, 0.0]]))
    assert f"expected {value:.6g}" in str(found)
    beside = weights([[0.0, 1.0]], np.zeros(()), half=True)
    assert read_back.misfits([beside], source([[1e-8, 1.0]])) == []


def test_a_limit_beyond_the_range_is_the_end_of_the_range_and_nothing_else_is() -> None:
    floats = [Constant("net/limit", "MAXIMUM", "", np.array([-1000.0]), np.zeros(()))]
    made = Constant("net/limit", "MAXIMUM", "", np.array([-6.4]), np.asarray(0.05))
    assert read_back.misfits([made], floats) == []
    added = Constant("net/limit", "ADD", "", np.array([-6.4]), np.asarray(0.05))
    assert len(read_back.misfits([added], floats)) == 1


def test_infinity_is_infinity() -> None:
    floats = [[-np.inf, 1.0]]
    assert read_back.misfits([weights([[-np.inf, 1.0]], np.asarray(0.01))], source(floats)) == []
    assert read_back.misfits([weights([[np.nan, 1.0]], np.asarray(0.01))], source(floats))


def test_a_constant_of_its_own_for_each_user_is_compared_too() -> None:
    made = Constant("net/dense/MatMul_duplicated", "FULLY_CONNECTED", "", np.array([[9.0]]), np.asarray(0.1))
    assert read_back.misfits([made], source([[3.0]]))


@pytest.mark.tensorflow
def test_a_channel_of_almost_nothing_keeps_its_bias_in_every_kind_of_layer(
    told_by: Callable[[str], dict[str, Any]],
) -> None:
    found = told_by("dead_channels")
    assert len(found) == 14
    off = {(name, p): e for name, errors in found.items() for p, e in errors.items() if not 0 <= e < 0.01}
    assert off == {}
