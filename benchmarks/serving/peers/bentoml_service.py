"""BentoML: one service, one worker, no access log, no metrics, no traces."""

from __future__ import annotations

from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import DType, Shape
from classifier import INPUT, OUTPUT, Classifier, shape

# Without type arguments: BentoML takes what stands there for a number.
Image = Annotated[np.ndarray, DType("int8"), Shape(shape(INPUT))]
Scores = Annotated[np.ndarray, DType("int8"), Shape(shape(OUTPUT))]


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Images:
    """Classifies an image."""

    def __init__(self) -> None:
        self._classifier = Classifier()

    @bentoml.api
    def predict(self, x: Image) -> Scores:
        """Return the scores of an image."""
        scores: Scores = self._classifier.run(x)
        return scores
