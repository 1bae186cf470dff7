"""Which output is monitored, of models that answer with scores, with class indices, and with both."""

import numpy as np
import pytest

from edgemm.errors import InputError
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging.evaluation import MetricQuestion
from edgemm_converter.judging.metrics import Metric
from edgemm_converter.monitoring.parent import monitored_output

SCORES = np.eye(3, dtype=np.float32)[np.arange(300) % 3].reshape(300, 1, 3)
PLACES = SCORES.argmax(axis=2).astype(np.int64)


def asked(output: str, *, classes: int = 0) -> MetricQuestion:
    return MetricQuestion(Metric.ACCURACY, output, np.zeros(300, np.int64), "rows.csv", classes=classes)


def test_scores_that_were_evaluated_are_monitored() -> None:
    assert monitored_output(asked("scores"), {"scores": SCORES}) == "scores"


def test_the_scores_beside_class_indices_are_monitored() -> None:
    outputs = {"label": PLACES, "probabilities": SCORES, "value": np.zeros((300, 1, 2), np.float32)}
    assert monitored_output(asked("label", classes=3), outputs) == "probabilities"


def test_two_classes_without_scores_are_monitored_as_they_are() -> None:
    assert monitored_output(asked("label", classes=2), {"label": PLACES % 2}) == "label"


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ({"label": PLACES}, "'label' is of class indices, without an output of scores"),
        ({"label": (PLACES + 1) % 3, "probabilities": SCORES}, "in 100.0% of the labelled rows, 'label' is not"),
    ],
)
def test_classes_that_follow_from_no_scores_are_not_monitored(outputs: dict[str, Array], says: str) -> None:
    with pytest.raises(InputError, match=says):
        monitored_output(asked("label", classes=3), outputs)
