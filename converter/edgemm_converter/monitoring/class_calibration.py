"""Calibrators by class: how often the model is right at each confidence, of what it answers with one class. Pure.

From them the performance of a model is estimated on inputs like the evaluation data (CBPE, of NannyML): they see no
shift that confidence does not.
"""

from __future__ import annotations

import numpy as np

from edgemm.monitoring.monitor_document import ClassCalibrator
from edgemm_converter.data.arrays import Array
from edgemm_converter.monitoring.accuracy_maps import as_bytes, isotonic

_MOST_CLASSES, _KNOTS, _LEAST_ROWS = 64, 12, 5


def calibrators(model: Array, classes: Array, count: int) -> tuple[ClassCalibrator, ...]:
    """Return a calibrator of each class; none where there are too many classes.

    `model` is probabilities [rows, classes]. A class that is hardly ever answered gets that of all rows.
    """
    if count > _MOST_CLASSES:
        return ()
    predicted, confidence = model.argmax(axis=1), model.max(axis=1).astype(np.float64)
    right = (predicted == classes).astype(np.float64)
    every = _calibrator(confidence, right)
    return tuple(
        _calibrator(confidence[predicted == one], right[predicted == one])
        if int((predicted == one).sum()) >= _LEAST_ROWS
        else every
        for one in range(count)
    )


def _calibrator(confidence: Array, right: Array) -> ClassCalibrator:
    knots, values = isotonic(confidence, right, knots=_KNOTS)
    return ClassCalibrator(confidence=as_bytes(knots), right=as_bytes(values))
