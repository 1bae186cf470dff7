"""Each rewrite computes what it replaces, and leaves nothing that an engine lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.tensorflow

NAMES = (
    "signbit", "argmax", "argmin", "fft", "ifft", "fft2d", "fft3d", "rfft", "rfft of odd length", "rfft of less",
    "rfft of more", "rfft2d", "rfft2d of more", "irfft", "irfft of odd length", "irfft2d", "product",
    "product of bytes", "square of a conjugate", "magnitude", "angle", "constant", "cast", "slices and joins", "silu",
    "constant seed", "exponential of complex numbers", "quotient of complex numbers", "cosine transform",
    "indices that are none", "hue", "saturation", "means of areas", "means of aligned areas",
)  # fmt: skip


@pytest.fixture(scope="module")
def measured(told_by: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """What `simulators.rewrite_cases` found."""
    return told_by("rewrite_cases")


@pytest.mark.parametrize("name", NAMES)
def test_a_rewritten_function_computes_the_same_without_what_engines_lack(name: str, measured: dict[str, Any]) -> None:
    found = measured[name]
    assert found["left"] == []
    assert found["error"] <= 1e-6 * found["scale"]


def test_every_case_is_looked_at(measured: dict[str, Any]) -> None:
    assert set(measured) == set(NAMES)
