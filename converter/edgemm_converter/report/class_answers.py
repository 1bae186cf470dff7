"""The answers of the source and of each variant class by class on the evaluation data, for the report. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import confusion
from edgemm_converter.judging.confusion import ClassFigures, Confused
from edgemm_converter.judging.evaluation import MetricQuestion
from edgemm_converter.judging.metrics import Metric

SOURCE = "source"
_LARGEST_MATRIX = 20
_MOST_ROWS, _MOST_PAIRS = 50, 10
_CLASSIFIED = (Metric.ACCURACY, Metric.F1, Metric.PRECISION, Metric.RECALL)


@dataclass(frozen=True)
class ClassAnswers:
    """The answers of one model; `matrix[truth][answer]` is left out where there are too many classes to read it."""

    whose: str
    figures: Sequence[ClassFigures]
    """Of each class, or of the worst ones by F1 where there are many."""

    classes: int
    """How many classes occur."""

    matrix: Sequence[Sequence[int]] | None
    confused: Sequence[Confused]


def of(asked: MetricQuestion | None, outputs: Mapping[str, Mapping[str, Array]]) -> list[ClassAnswers]:
    """Return the answers of each model in `outputs` (its id → output name → array) where classes were asked for."""
    if asked is None or asked.metric not in _CLASSIFIED:
        return []
    return [_answers(whose, asked, found) for whose, found in outputs.items()]


def _answers(whose: str, asked: MetricQuestion, outputs: Mapping[str, Array]) -> ClassAnswers:
    found = confusion.counts(asked.answers(outputs), asked.truth)
    figures = confusion.figures(found)
    shown = figures if len(figures) <= _MOST_ROWS else sorted(figures, key=lambda row: row.f1 or 0.0)[:_MOST_ROWS]
    return ClassAnswers(
        whose=whose,
        figures=shown,
        classes=len(figures),
        matrix=found.tolist() if len(found) <= _LARGEST_MATRIX else None,
        confused=confusion.most_confused(found, limit=_MOST_PAIRS),
    )
