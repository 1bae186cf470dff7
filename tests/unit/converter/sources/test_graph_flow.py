"""Random operations in graphs of TensorFlow: found wherever outputs need them, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.tensorflow

RANDOM = {
    "adds_small_noise": "RandomStandardNormal",
    "has_a_seed": "RandomStandardNormal",
    "uses_a_generator": "RngReadAndSkip",
    "draws_categories": "Multinomial",
    "draws_integers": "RandomUniformInt",
    "shuffles": "RandomShuffle",
    "draws_gamma": "RandomGamma",
    "pools_at_random": "FractionalMaxPool",
    "calls_a_function": "RandomUniform",
    "draws_in_a_branch": "RandomStandardNormal",
    "branches_at_random": "RandomUniform",
    "draws_in_a_case": "RandomShuffle",
    "draws_in_a_loop": "RandomStandardNormal",
    "loops_at_random": "RandomUniform",
    "maps": "RandomStandardNormal",
}
SAME_EACH_TIME = (
    "drops_what_it_draws", "calls_for_the_other_result", "loops_for_the_other_result", "has_a_constant_seed",
    "has_a_branch_for_training", "has_an_old_branch_for_training", "counts_and_reads",
)  # fmt: skip


@pytest.fixture(scope="module")
def found(told_by: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """What `simulators.random_cases` found."""
    return told_by("random_cases")


def test_each_random_operation_that_an_output_needs_is_found(found: dict[str, Any]) -> None:
    kinds = {name: facts["random"] for name, facts in found.items() if facts["random"]}
    assert kinds == {name: [kind] for name, kind in RANDOM.items()}


def test_what_reaches_no_output_or_has_a_constant_seed_is_none(found: dict[str, Any]) -> None:
    assert {name for name, facts in found.items() if not facts["random"]} == set(SAME_EACH_TIME)


def test_a_variable_that_is_counted_up_and_never_read_reaches_no_output(found: dict[str, Any]) -> None:
    assert found["counts_and_reads"]["variables"] == ["read"]


def test_the_same_is_found_in_tflite_files(found: dict[str, Any]) -> None:
    assert {name: facts["file"] for name, facts in found.items() if "file" in facts} == {
        "adds_small_noise": ["RANDOM_STANDARD_NORMAL"],
        "draws_categories": ["MULTINOMIAL"],
        "draws_in_a_branch": ["RANDOM_STANDARD_NORMAL"],
        "draws_in_a_loop": ["RANDOM_STANDARD_NORMAL"],
        "loops_for_the_other_result": [],
    }
