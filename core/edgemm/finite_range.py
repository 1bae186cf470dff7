"""Ranges of numbers on the command line, without "nan" and "inf", which click takes for numbers."""

from __future__ import annotations

import math
from typing import Any

import click

LONGEST_S = 31_536_000.0
"""A year: the longest timeout; one that is much longer overflows the clocks of the system."""


class FiniteRange(click.FloatRange):
    """A number between two limits; neither infinite nor none."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r}: expected a finite number", param, ctx)
        return number


def seconds() -> FiniteRange:
    """Return the range of a timeout."""
    return FiniteRange(min=1, max=LONGEST_S)
