"""Counts of agreement merge exactly: any split in any order is one pass, and the estimate with it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm.monitoring import AgreementCounts, estimate
from edgemm_runtime.monitoring.committee import Committee
from tests.monitors import CLASSES, COLUMNS, small_document

pytestmark = pytest.mark.runtime
DOCUMENT = small_document()
COMMITTEE = Committee(DOCUMENT)
RANDOM = np.random.default_rng(3)
ROWS = {"x": RANDOM.normal(size=(240, COLUMNS)).astype(np.float32)}
ANSWERS = RANDOM.dirichlet(np.ones(CLASSES), 240).astype(np.float32)


def counted(rows: np.ndarray) -> AgreementCounts:
    return COMMITTEE.answered({"x": ROWS["x"][rows]}, ANSWERS[rows]).counts(CLASSES)


@given(st.permutations(range(240)), st.lists(st.integers(1, 239), max_size=5))
def test_a_merge_of_any_split_is_one_pass(order: list[int], cuts: list[int]) -> None:
    parts = np.split(np.array(order), sorted(set(cuts)))
    merged = AgreementCounts.none(CLASSES)
    for part in parts:
        merged += counted(part)
    whole = counted(np.arange(240))
    assert merged == whole
    assert estimate(DOCUMENT, merged) == estimate(DOCUMENT, whole)
    assert merged.samples == 240
    assert sum(merged.cells) == sum(merged.predicted) == 240
