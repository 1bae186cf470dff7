"""The layer that computes something else in a converted file is found, whatever the file calls it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgemm_converter.data.arrays import Array
from edgemm_converter.judging.node_agreement import Node, first_parting

NODES = (Node("in", ()), Node("folded", ("in",)), Node("a", ("folded",)), Node("b", ("in",)), Node("out", ("a", "b")))
RNG = np.random.default_rng(4)
SOURCE = {name: RNG.normal(size=(2, 3, 4)) for name in ("folded", "a", "b", "out")}


def shuffled(values: Array) -> Array:
    return np.random.default_rng(1).permutation(values.ravel()).reshape(4, 6)


def test_a_value_in_another_order_is_the_same() -> None:
    assert first_parting(NODES, SOURCE, [shuffled(v) for v in SOURCE.values()], limit=1e-4) is None


def test_a_value_that_was_folded_away_is_no_parting() -> None:
    assert first_parting(NODES, SOURCE, [SOURCE["a"], SOURCE["b"], SOURCE["out"]], limit=1e-4) is None


def test_the_first_value_of_the_branch_that_is_wrong_is_named() -> None:
    assert first_parting(NODES, SOURCE, [SOURCE["folded"], SOURCE["a"]], limit=1e-4) == "b"
    assert first_parting(NODES, SOURCE, [SOURCE["a"], SOURCE["b"]], limit=1e-4) == "out"
    assert first_parting(NODES, SOURCE, [SOURCE["b"]], limit=1e-4) == "folded"


def test_an_error_within_the_limit_is_none() -> None:
    found = [v + 1e-3 for v in SOURCE.values()]
    assert first_parting(NODES, SOURCE, found, limit=1e-2) is None
    assert first_parting(NODES, SOURCE, found, limit=1e-5) == "folded"


def test_values_that_tell_nothing_are_left_out() -> None:
    source = SOURCE | {"b": np.zeros((2, 3, 4)), "folded": np.full((2, 3, 4), np.nan)}
    assert first_parting(NODES, source, [SOURCE["a"], SOURCE["out"]], limit=1e-4) is None


@pytest.fixture(scope="module")
def named(told_by: Callable[[str], dict[str, dict[str, str]]]) -> dict[str, dict[str, str]]:
    """What `simulators.parting_cases` found."""
    return told_by("parting_cases")


@pytest.mark.tensorflow
@pytest.mark.parametrize("engine", ["tflite", "onnx"])
@pytest.mark.parametrize(
    ("model", "layers"),
    [
        ("convolutions", ("first", "left", "right", "kind")),
        ("rewritten", ("moving", "dense")),
        ("recurrent", ("before", "both", "gate", "after")),
    ],
)
def test_the_layer_that_was_spoiled_is_named(
    model: str, layers: tuple[str, ...], engine: str, named: dict[str, dict[str, str]]
) -> None:
    for layer in layers:
        assert named[f"{model}: {layer}"][f"{engine}:float32"].split("/")[0] == layer
    assert named[f"{model}: nothing"][f"{engine}:float32"] == ""
