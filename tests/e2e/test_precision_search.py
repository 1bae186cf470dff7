"""The search for a precision on the trained models of its benchmark."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.precision_search import CASES, MAX_DROP, made, search
from edgemm.bundle.manifest import Precision
from edgemm_converter.judging.search import MAX_EVALUATIONS

pytestmark = [pytest.mark.converter, pytest.mark.tensorflow, pytest.mark.exhaustive]

QUICK = [name for name in CASES if name != "digits-mobilenet"]
"""The benchmark alone trains the other for a minute."""
SMALL = {Precision.INT8, Precision.INT8_DYNAMIC, Precision.INT8_WEIGHTS, Precision.INT16X8, Precision.MIXED}


@pytest.mark.filterwarnings("default::DeprecationWarning:keras")  # Keras, while it trains, with NumPy 2
@pytest.mark.parametrize("name", QUICK)
def test_integers_lose_no_more_than_the_budget(name: str, shared: Path, tmp_path: Path) -> None:
    found = search(made(name, tmp_path, shared=shared), tmp_path)
    best, floats = found.manifest.variants
    assert (best.precision in SMALL, floats.precision) == (True, Precision.FLOAT32)
    assert found.manifest.evaluation is not None
    drop = found.manifest.evaluation.drops[best.id]
    assert drop.low <= drop.value <= MAX_DROP
    assert drop.value <= drop.high
    assert len(found.trials) <= MAX_EVALUATIONS
    sizes = found.manifest.blobs
    assert sizes[best.blob].size < 0.5 * sizes[floats.blob].size
