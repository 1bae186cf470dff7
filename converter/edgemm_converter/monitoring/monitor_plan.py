"""The plan of how much is tried to monitor a model: bounded by work, and never by the clock. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from edgemm.monitoring.monitor_document import HEADS
from edgemm_converter.job.monitor_effort import MonitorEffort
from edgemm_converter.monitoring.head_training import Effort


@dataclass(frozen=True)
class Plan:
    """How much is tried: severities of a family, pairs of families, how often families are left out, and training."""

    severities: int
    pairs: int
    family_folds: int
    effort: Effort
    rows: int
    """Rows of the labelled data that are used, at most."""

    multiplications: float
    """What all runs of the model may take together."""


QUICK = Plan(
    severities=6, pairs=48, family_folds=4, effort=Effort(epochs=7, rows=32_000), rows=720, multiplications=1e12
)
FULL = Plan(
    severities=10, pairs=72, family_folds=8, effort=Effort(epochs=10, rows=60_000), rows=3_000, multiplications=1e13
)
PLANS = {MonitorEffort.QUICK: QUICK, MonitorEffort.FULL: FULL}

LEAST_ROWS, LEAST_OF_CLASS = 60, 3
LEAST_POOL, USUAL_POOL = 60, 400
MOST_CLASSES = 1024
_WORK_OF_NUMBER = 500
"""Corrupting one number of an input, and looking at it, takes as long as so many multiplications."""
_KEPT_BYTES, _PROFILED = 3 * 2**29, 80
"""What all pools may take, and the numbers of a row's profile and places."""
_HEADS_BYTES, _MOST_HIDDEN, _LEAST_HIDDEN = 44_000, 48, 8


def hidden_units(numbers: tuple[int, ...], classes: int) -> int:
    """Return the width of the heads' hidden layers, so that they fit into a document; 0 where none would do.

    `numbers` are those of the views.
    """
    per_unit = sum(numbers) + HEADS * (classes + 4)
    width = min(_MOST_HIDDEN, (_HEADS_BYTES - 4 * HEADS * classes) // per_unit)
    return width if width >= _LEAST_HIDDEN else 0


def pool_rows(plan: Plan, rows: int, *, pools: int, work: int, numbers: int, kept: int) -> int:
    """Return how many rows a pool has: all, more than once where they are few; 0 where not even a few can be run.

    A row has so many `numbers`, takes so much `work` in the model, and leaves so many numbers that are `kept`.
    """
    wanted = max(rows, USUAL_POOL)
    most = int(plan.multiplications / (work + _WORK_OF_NUMBER * numbers) / pools)
    found = min(wanted, most, _KEPT_BYTES // (4 * (kept + _PROFILED) * pools))
    return found if found >= LEAST_POOL else 0
