"""A small document by which a model is monitored, of random heads: nothing is trained."""

import numpy as np

from edgemm.monitoring.monitor_document import (
    CELLS,
    FEATURES,
    FORMAT,
    HEADS,
    CommitteeHead,
    DenseLayer,
    FamilyError,
    Interval,
    Map,
    Maps,
    Modality,
    MonitorDocument,
    Scores,
    Trial,
    View,
)

CLASSES, COLUMNS = 3, 4


def float32(numbers: object) -> bytes:
    return np.asarray(numbers, "<f4").tobytes()


def small_document(**changes: object) -> MonitorDocument:
    random = np.random.default_rng(1)

    def layer(inputs: int, outputs: int) -> DenseLayer:
        weights = random.integers(-127, 128, (inputs, outputs)).astype(np.int8)
        return DenseLayer(
            inputs=inputs, outputs=outputs, scale=0.01, weights=weights.tobytes(),
            biases=float32(random.normal(size=outputs)),
        )  # fmt: skip

    given = {
        "format": FORMAT,
        "supported": True,
        "output": "p",
        "scores": Scores.PROBABILITIES,
        "classes": CLASSES,
        "clean_accuracy": 0.95,
        "committee_accuracy": 0.94,
        "view": View(
            inputs=("x",), modality=Modality.TABLE, centre=float32([0.0] * COLUMNS), scale=float32([1.0] * COLUMNS)
        ),
        "heads": tuple(
            CommitteeHead(hidden=layer(COLUMNS * (2 if number == 2 else 1), 8), classes=layer(8, CLASSES))
            for number in range(HEADS)
        ),
        "maps": Maps(
            chosen=Map.ISOTONIC, agreement=float32([0.0, 1.0]), accuracy=float32([0.1, 0.9]),
            mean=float32([0.0] * FEATURES), scale=float32([1.0] * FEATURES), weights=float32([0.0] * FEATURES),
            intercept=0.5, table=float32(np.linspace(0.0, 1.0, CELLS)),
        ),
        "interval": Interval(
            weights=(1.0, 1.0, 0.0, 0.0, 0.0), quantile=1.0, scale=float32([1.0] * FEATURES),
            landmarks=float32(np.zeros(FEATURES)), most_distance=10.0, most_spread=1.0,
        ),
        "trial": Trial(
            mean_error=0.02, mean_error_200=0.02, mean_error_1000=0.02, worst_5_percent=0.06, bias=0.0, coverage=0.95,
            by_map={"isotonic": 0.02}, families=(FamilyError(family="noise", mean_error=0.02, bias=0.0),), rows=200,
            windows=100,
        ),
    }  # fmt: skip
    return MonitorDocument(**(given | changes))  # type: ignore[arg-type]
