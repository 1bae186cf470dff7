"""Golden vectors of monitoring: the document of a bundle, and what an estimate makes of counts by it."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict
from typing import Any

from edgemm.monitoring import AgreementCounts, MonitorDocument, estimate, monitor_document
from edgemm.monitoring.monitor_document import (
    CELLS,
    FEATURES,
    FORMAT,
    HEADS,
    TERMS,
    ClassCalibrator,
    CommitteeHead,
    DenseLayer,
    FamilyError,
    FeatureProfile,
    Interval,
    Map,
    Maps,
    Modality,
    Scores,
    Trial,
    View,
)
from tests.golden.vector import Vector

_CLASSES, _COLUMNS, _HIDDEN = 3, 4, 2


def _floats(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def _layer(inputs: int, outputs: int) -> DenseLayer:
    weights = bytes((7 * place) % 256 for place in range(inputs * outputs))
    biases = _floats(*(0.25 * place for place in range(outputs)))
    return DenseLayer(inputs=inputs, outputs=outputs, scale=0.0078125, weights=weights, biases=biases)


DOCUMENT = MonitorDocument(
    format=FORMAT,
    supported=True,
    output="scores",
    scores=Scores.LOGITS,
    classes=_CLASSES,
    clean_accuracy=0.9375,
    committee_accuracy=0.90625,
    view=View(
        inputs=("x",), modality=Modality.TABLE, centre=_floats(*[0.5] * _COLUMNS), scale=_floats(*[2.0] * _COLUMNS)
    ),
    heads=tuple(
        CommitteeHead(hidden=_layer(_COLUMNS * (1 + (head == HEADS - 1)), _HIDDEN), classes=_layer(_HIDDEN, _CLASSES))
        for head in range(HEADS)
    ),
    maps=Maps(
        chosen=Map.RIDGE,
        agreement=_floats(0.0, 0.5, 1.0),
        accuracy=_floats(0.125, 0.5, 1.0),
        mean=_floats(*[0.25] * FEATURES),
        scale=_floats(*[0.5] * FEATURES),
        weights=_floats(*(0.0078125 * (place % 3) for place in range(FEATURES))),
        intercept=0.75,
        table=_floats(*(place / CELLS for place in range(CELLS))),
    ),
    interval=Interval(
        weights=(0.5,) * TERMS,
        quantile=1.5,
        scale=_floats(*[1.0] * FEATURES),
        landmarks=_floats(*[0.25] * FEATURES),
        most_distance=4.0,
        most_spread=0.5,
    ),
    trial=Trial(
        mean_error=0.02, mean_error_200=0.025, mean_error_1000=0.015, worst_5_percent=0.0625, bias=-0.001,
        coverage=0.95, by_map={"isotonic": 0.03, "ridge": 0.02, "table": 0.04},
        families=(FamilyError(family="noise", mean_error=0.02, bias=0.01),), rows=400, windows=900,
    ),
    calibrators=(ClassCalibrator(confidence=_floats(0.5, 1.0), right=_floats(0.25, 1.0)),) * _CLASSES,
    profile=(FeatureProfile(name="x[0]", edges=_floats(-1.0, 0.0, 1.0), counts=(0, 3, 4, 0, 1), low=-2.0, high=2.0),),
)  # fmt: skip
_COUNTS = AgreementCounts(
    samples=200, cells=(0,) * (CELLS - 4) + (10, 20, 50, 120), committee=170, heads=(165, 160, 155),
    pairs=(150, 145, 140), predicted=(80, 70, 50),
)  # fmt: skip
ESTIMATED = {
    "counts": {name: getattr(_COUNTS, name) for name in _COUNTS.__struct_fields__},
    "estimate": asdict(estimate(DOCUMENT, _COUNTS)),
}


def _as_json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"


def _plain(value: Any) -> Any:
    return json.loads(_as_json(value))


VECTORS = [
    Vector("monitor/document-1.0.msgpack", DOCUMENT, monitor_document.encode, monitor_document.decode),
    Vector("monitor/estimate.json", _plain(ESTIMATED), _as_json, json.loads),
]
