"""No draft is written of a variant that is wrong."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from edgemm.bundle.manifest import DType, Precision, Variant, VariantTensor
from edgemm.errors import ParityError
from edgemm_converter.children.protocol import Exported, SampleSet, SetKind
from edgemm_converter.data.arrays import Array
from edgemm_converter.drafting import draft as drafting
from edgemm_converter.job.job import ConversionJob
from edgemm_converter.judging.assembly import Measured
from edgemm_converter.verify.parent import EngineRun

TENSOR = (VariantTensor(name="y", tensor="y", dtype=DType.FLOAT32, shape=(-1, 3)),)
VARIANT = Variant(
    id="tflite:float32", engine="tflite", precision=Precision.FLOAT32, minimum_engine="2.0.0", blob="a" * 64,
    inputs=TENSOR, outputs=TENSOR,
)  # fmt: skip


def measured(kind: SetKind, values: Array, found: Array, *names: str) -> Measured:
    runs = len(values)
    given = SampleSet(
        id=kind, kind=kind, runs=runs, samples=runs, inputs={}, outputs={}, names=names, families=names
    )  # fmt: skip
    return Measured(given, {"x": values}, {"y": values}, {VARIANT.id: {"y": found}}, {"y": np.zeros(values.shape)})


def test_a_variant_that_is_wrong_on_an_edge_input_alone_leaves_nothing_behind(tmp_path: Path) -> None:
    usual = np.random.default_rng(2).normal(size=(12, 1, 3)).astype(np.float32)
    zeros = np.zeros((1, 1, 3), np.float32)
    sets = (
        measured(SetKind.RANDOM, usual, usual),
        measured(SetKind.EDGE, zeros, np.full_like(zeros, np.nan), "all zeros"),
    )
    ran = EngineRun((VARIANT,), {}, sets, {}, {})
    given = cast("ConversionJob", SimpleNamespace(format="keras"))
    with pytest.raises(ParityError, match="on the edge input 'all zeros' the source answers 0 at"):
        drafting.draft(given, cast("Exported", None), ran, tmp_path)
    assert not list(tmp_path.iterdir())
