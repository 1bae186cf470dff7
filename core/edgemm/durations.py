"""Durations on the command line: `90`, `90s`, `15min`, `12h` or `7d`, in seconds."""

from __future__ import annotations

import re
from types import MappingProxyType

import click

_SECONDS = MappingProxyType({"": 1, "s": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400})
LONGEST_S = 316_224_000.0
"""Ten years."""


class Duration(click.ParamType[float]):
    """A duration between two limits, in seconds."""

    name = "duration"

    def __init__(self, *, min_s: float = 0.0, max_s: float = LONGEST_S) -> None:
        self.min_s, self.max_s = min_s, max_s

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a duration into seconds."""
        seconds = float(value) if isinstance(value, int | float) else self._read(str(value), param, ctx)
        if not self.min_s <= seconds <= self.max_s:
            self.fail(
                f"{value!r}: expected a duration from {_written(self.min_s)} to {_written(self.max_s)}", param, ctx
            )
        return seconds

    def _read(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = in_seconds(text)
        if seconds is None:
            self.fail(f"{text!r}: expected a duration such as 90s, 15min, 12h or 7d", param, ctx)
        return seconds


def in_seconds(text: str) -> float | None:
    """Return a duration as it is written, in seconds; None: it is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|)", text)
    return None if match is None else float(match[1]) * _SECONDS[match[2]]


def _written(seconds: float) -> str:
    """Return a duration as it may be given, by the longest unit of which it is a whole number."""
    unit = next((unit for unit in ("d", "h", "min") if seconds and seconds % _SECONDS[unit] == 0), "s")
    return f"{seconds / _SECONDS[unit]:g}{unit}"
