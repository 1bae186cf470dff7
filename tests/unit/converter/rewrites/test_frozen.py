"""Graphs without variables: by the short way where a graph is plain, by TensorFlow's own where it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.tensorflow

SHORT = ("plain", "reads_what_it_does_not_use")
LONG = (
    "calls_a_function", "loops", "uses_a_captured_constant", "gives_a_captured_constant", "gathers", "is_complex",
    "writes_what_it_does_not_use", "switches_in_a_function", "branches_in_branches",
)  # fmt: skip


@pytest.fixture(scope="module")
def found(told_by: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """What `simulators.freezing_cases` found."""
    return told_by("freezing_cases")


@pytest.mark.parametrize("name", SHORT + LONG)
def test_a_frozen_graph_computes_the_same_without_variables(name: str, found: dict[str, Any]) -> None:
    assert (found[name]["short"], found[name]["variables"]) == (name in SHORT, 0)
    assert found[name]["error"] <= 1e-6
