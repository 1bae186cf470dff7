"""Running a converted file in its engine and comparing it with the source, by tensor name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

LIMIT = 1e-4
"""Largest error as a share of the range of the source's output, whatever that is."""

NOISE = "noise"
"""Stands in the place of a run's name."""

_NOISE_ALLOWED, _NOISE_EXCUSES = 8.0, 10.0
_MAGNITUDE_SHARE, _LEAST_SCALE = 0.1, 1e-6


class WrongOutputError(Exception):
    """The file runs and computes something else."""


def references(folder: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the inputs and outputs of each run."""
    return [(run["in"], run["out"]) for key, run in _saved(folder).items() if key != NOISE]


def noise(folder: Path) -> dict[str, float]:
    """Return how far the last bit of the inputs moves each output of the source."""
    return {name: float(value) for name, value in _saved(folder).get(NOISE, {}).get("out", {}).items()}


def _saved(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    runs: dict[str, dict[str, dict[str, Any]]] = {}
    with np.load(folder / "reference.npz", allow_pickle=False) as saved:
        for key in saved.files:
            run, side, name = key.split("/", maxsplit=2)
            runs.setdefault(run, {"in": {}, "out": {}})[side][name] = saved[key]
    return runs


def named(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return `found` under the names of `wanted`: by name, alone where there is but one, never by position."""
    if len(found) == len(wanted) == 1:
        return dict(zip(wanted, found.values(), strict=True))
    plain = {name.removeprefix("serving_default_").split(":")[0]: value for name, value in found.items()}
    if set(plain) != set(wanted):
        raise WrongOutputError(f"expected the tensors {sorted(wanted)}, found {sorted(plain)}")
    return plain


def judge(found: Mapping[str, Any], wanted: Mapping[str, Any], *, noise: Mapping[str, float]) -> float:
    """Return the largest error of any output as a share of its range; raises `WrongOutputError` over the limit.

    The limit is 1e-4, or eight times what the last bit of the inputs does to the source, at most 1e-3.
    """
    worst = 0.0
    for name, value in named(found, wanted).items():
        expected = np.asarray(wanted[name], np.float64)
        actual = np.asarray(value, np.float64)
        if expected.shape != actual.shape:
            raise WrongOutputError(f"output {name}: shape {actual.shape}, expected {expected.shape}")
        scale = _scale(expected)
        error = float(np.abs(expected - actual).max(initial=0.0)) / scale
        if not error <= max(LIMIT, min(_NOISE_ALLOWED * noise.get(name, 0.0) / scale, _NOISE_EXCUSES * LIMIT)):
            raise WrongOutputError(f"output {name}: error {error:.2g} of the range")
        worst = max(worst, error)
    return worst


def _scale(expected: Any) -> float:
    """Return the output's range, or a tenth of its magnitude where it hardly varies."""
    magnitude = float(np.abs(expected).max(initial=0.0))
    return max(float(np.ptp(expected)) if expected.size else 0.0, _MAGNITUDE_SHARE * magnitude, _LEAST_SCALE)
