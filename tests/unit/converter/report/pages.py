"""Facts of a conversion in which every part of a report is used."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from edgemm.bundle.manifest import Manifest, Precision
from edgemm_converter.children.protocol import LayerFacts, TrialFacts
from edgemm_converter.judging.evaluation import MetricQuestion
from edgemm_converter.judging.metrics import Metric
from edgemm_converter.report import class_answers
from edgemm_converter.report.facts import Facts, Predecessor, Speed
from tests.unit.core.bundles import small_manifest

EVIL = "<script>alert(1)</script>|*"


def manifest(**changes: Any) -> Manifest:
    found = small_manifest()
    assert found.evaluation is not None
    drops = dict.fromkeys(found.evaluation.variants, found.evaluation.drops["tflite:int8"])
    return small_manifest(evaluation=msgspec.structs.replace(found.evaluation, drops=drops), **changes)


def answers() -> list[class_answers.ClassAnswers]:
    """Return answers to six samples of two classes: the source is right in five, the variant in four."""
    truth = np.array([0, 0, 0, 1, 1, 1])
    asked = MetricQuestion(Metric.ACCURACY, "digit", truth, "evaluation data")
    outputs = {"source": [0, 0, 1, 1, 1, 1], "tflite:int8": [0, 1, 1, 1, 1, 1]}
    rows = {whose: {"digit": np.eye(2)[found][:, np.newaxis]} for whose, found in outputs.items()}
    return class_answers.of(asked, rows)


def facts(**changes: Any) -> Facts:
    """Return them, with some changed."""
    fields: dict[str, Any] = {
        "manifest": manifest(labels=(EVIL, "b"), created="2026-01-02T03:04:05Z"),
        "digest": "ab" * 32,
        "max_drop": 0.05,
        "warnings": ("45 samples prove little",),
        "left_out": {"onnx:float32": "no ONNX operation for Odd"},
        "trials": (
            TrialFacts(precision=Precision.INT8, float_layers=(), size=2600, drop=0.25, refused=""),
            TrialFacts(precision=Precision.INT16X8, float_layers=(), size=0, drop=None, refused="no kernel"),
            TrialFacts(precision=Precision.MIXED, float_layers=("conv_1",), size=3100, drop=0.01, refused=""),
        ),
        "layers": {
            "tflite:int8": (
                LayerFacts(name="stem", error=0.002, own=0.002),
                LayerFacts(name="conv_1", error=0.3, own=0.298),
                LayerFacts(name="head", error=0.31, own=0.01),
            )
        },
        "speeds": {"tflite:int8": Speed(0.25, 40_000_000)},
        "classes": answers(),
        "predecessor": Predecessor(
            small_manifest(version="0.9.0"), "cd" * 32, {"tflite:int8": 0.75}, {"tflite:int8": Speed(0.5, 1)}
        ),
        "machine": "a test",
    }
    return Facts(**{**fields, **changes})
