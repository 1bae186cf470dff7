"""Source models of awkward kinds: names of any script, dropout, tables, half precision, training for integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.tensorflow

EXACT, ROUNDED = 1e-5, 0.03
LIMITS = {
    "odd_names": EXACT,
    "odd_names_of_cells": EXACT,
    "dropout_in_layers": EXACT,
    "dropout_in_cells": EXACT,
    "dropout_in_convolutions": EXACT,
    "dropout_unrolled_and_saved": EXACT,
    "mixed_bfloat16": ROUNDED,
    "pure_float16": ROUNDED,
    "pure_float64": EXACT,
    "layers_of_all_precisions": ROUNDED,
    "lookup_one_hot": 0,
    "lookup_with_a_mask": 0,
    "lookup_inverted": 0,
    "lookup_saved": 0,
    "table_of_numbers": 0,
    "table_of_many_close_keys": 0,
    "table_of_written_numbers": 0,
    "trained_for_integers": ROUNDED,
    "quantized_by_keras": EXACT,
    "quantized_to_float8": EXACT,
}
REFUSED = {"table_in_a_branch": "uses a table or another resource, which no file holds"}


@pytest.fixture(scope="module")
def measured(told_by: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """What `simulators.source_cases` found."""
    return told_by("source_cases")


@pytest.mark.parametrize("name", LIMITS)
def test_both_files_compute_what_the_source_does(name: str, measured: dict[str, Any]) -> None:
    assert measured[name]["tflite"] <= LIMITS[name]
    assert measured[name]["onnx"] <= LIMITS[name]


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_file_holds_is_refused_in_those_words(name: str, measured: dict[str, Any]) -> None:
    assert REFUSED[name] in measured[name]["tflite"]
    assert REFUSED[name] in measured[name]["onnx"]


@pytest.mark.parametrize("name", ["pure_float16", "pure_float64", "layers_of_all_precisions"])
def test_what_is_computed_in_single_precision_is_served_in_it(name: str, measured: dict[str, Any]) -> None:
    assert measured[name]["types"] == ["float32", "float32"]


def test_ranges_of_a_model_that_was_trained_for_integers_are_kept(measured: dict[str, Any]) -> None:
    assert measured["trained_for_integers"]["notes"] == 1
    assert measured["ranges"]["learned"] == [[-4, 4], [0, 5]]
    assert measured["ranges"]["scales"] == pytest.approx([8 / 255, 5 / 255], rel=1e-3)


def test_every_case_is_looked_at(measured: dict[str, Any]) -> None:
    assert set(measured) == {*LIMITS, *REFUSED, "ranges"}
