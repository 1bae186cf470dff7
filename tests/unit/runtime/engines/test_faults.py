"""An engine's failure is the request's where the engine computes what it answered before, and fails on that again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgemm.errors import EngineError, UncomputableSizeError, UncomputableValueError
from edgemm_runtime.engines.faults import Faults
from edgemm_runtime.tensors.named_arrays import Arrays

GOOD = {"index": np.array([[3, 4]]), "gain": np.array([[1.0]])}
BAD = {"index": np.array([[3, 99], [1, 1]]), "gain": np.array([[2.0], [2.0]])}
GATHER = "ONNX Runtime failed: operation Gather was given an index that is outside of its table"


class Engine:
    """Computes indices below 10, and counts how often it is asked."""

    def __init__(self, *, takes_s: float = 0.001) -> None:
        self.asked, self.now_s, self.takes_s = 0, 0.0, takes_s
        self.fails: Callable[[Arrays], bool] = lambda feeds: bool((feeds["index"] > 9).any())

    def computes(self, feeds: Arrays) -> bool:
        self.asked += 1
        self.now_s += self.takes_s
        return not self.fails(feeds)

    def faults(self, sized: tuple[str, ...] = ()) -> Faults:
        faults = Faults(sized, GOOD, now_s=lambda: self.now_s)
        faults.answered(GOOD)
        return faults


def test_values_are_the_requests_and_the_input_is_named() -> None:
    engine = Engine()
    found = engine.faults().of(BAD, EngineError(GATHER), engine.computes)
    assert found is not None
    assert found[0] is UncomputableValueError
    assert found[1].startswith(
        "input 'index': the model cannot compute these values: operation Gather was given an index"
    )


def test_an_engine_that_fails_on_what_it_answered_is_at_fault() -> None:
    engine = Engine()
    engine.fails = lambda feeds: True
    assert engine.faults().of(BAD, EngineError("out of order"), engine.computes) is None


def test_an_engine_that_fails_once_and_not_again_is_at_fault() -> None:
    engine = Engine()
    engine.fails = lambda feeds: False
    assert engine.faults().of(BAD, EngineError("out of memory"), engine.computes) is None


def test_nothing_is_known_of_a_model_that_never_answered() -> None:
    engine = Engine()
    assert Faults((), GOOD).of(BAD, EngineError("out of order"), engine.computes) is None
    assert engine.asked == 0


def test_a_size_of_which_zeros_fail_too_is_told_as_such() -> None:
    engine, small = Engine(), {**GOOD, "index": np.array([[3]])}
    engine.fails = lambda feeds: feeds["index"].shape[1] < 2
    found = engine.faults(("index",)).of(small, EngineError("too small"), engine.computes)
    assert found is not None
    assert found[0] is UncomputableSizeError


def test_no_client_doubles_the_load() -> None:
    engine = Engine(takes_s=0.1)
    faults = engine.faults()
    tried = []
    for _ in range(1000):
        engine.now_s += 0.1  # the request itself
        before = engine.asked
        assert faults.of(BAD, EngineError(GATHER), engine.computes) is not None
        tried.append(engine.asked - before)
    assert sum(tried) * 0.1 < 0.1 * (1000 * 0.1) + 1.0
    engine.now_s += 60.0
    engine.fails = lambda feeds: True
    assert faults.of(BAD, EngineError("out of order"), engine.computes) is None, "the last verdict does not last"


@pytest.mark.parametrize("engine", ["LiteRT", "ONNX Runtime"])
def test_the_failure_is_told_without_the_engines_name(engine: str) -> None:
    found = Engine().faults().of(BAD, EngineError(f"{engine} failed: operation Div divides by zero"), Engine().computes)
    assert found is not None
    assert "these values: operation Div divides by zero: send" in found[1]
