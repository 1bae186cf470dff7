"""Running a converted file in its engine and comparing it with the source, by tensor name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

LIMIT = 1e-4
"""Largest error as a share of max(1, range of the source's output)."""


class WrongOutputError(Exception):
    """The file runs and computes something else."""


def references(folder: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the inputs and outputs of each run."""
    runs: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    with np.load(folder / "reference.npz", allow_pickle=False) as saved:
        for key in saved.files:
            run, side, name = key.split("/", maxsplit=2)
            runs.setdefault(run, ({}, {}))[side == "out"][name] = saved[key]
    return list(runs.values())


def named(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return `found` under the names of `wanted`: by name, alone where there is but one, never by position."""
    if len(found) == len(wanted) == 1:
        return dict(zip(wanted, found.values(), strict=True))
    plain = {name.removeprefix("serving_default_").split(":")[0]: value for name, value in found.items()}
    if set(plain) != set(wanted):
        raise WrongOutputError(f"expected the tensors {sorted(wanted)}, found {sorted(plain)}")
    return plain


def judge(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> float:
    """Return the largest relative error of any output; raises `WrongOutputError` over the limit."""
    worst = 0.0
    for name, value in named(found, wanted).items():
        expected = np.asarray(wanted[name], np.float64)
        actual = np.asarray(value, np.float64)
        if expected.shape != actual.shape:
            raise WrongOutputError(f"output {name}: shape {actual.shape}, expected {expected.shape}")
        error = float(np.abs(expected - actual).max(initial=0.0)) / max(1.0, float(np.ptp(expected)))
        if not error <= LIMIT:
            raise WrongOutputError(f"output {name}: error {error:.2g} of the range")
        worst = max(worst, error)
    return worst
